"""Intervals that hold for narrow, skewed and small logs: their coverage by simulation, refusals, and identities."""

import math

import numpy as np
import pytest

from bandits.errors import EvaluationError
from bandits.intervals import Z95
from bandits.ope.estimators import PolicyValueEstimate, doubly_robust, inverse_propensity, self_normalised
from bandits.ope.weighted_intervals import interval_that_holds, largest_possible_weight, payoff_terms
from bandits.policy import FloatArray

SPAN = (0.0, 1.0)
Log = tuple[FloatArray, FloatArray, FloatArray, float]


def uniform_log(rng: np.random.Generator, rows: int, offers: int, rate: float) -> Log:
    """Rewards, probabilities and targets of a random log for a target that always shows one offer; the truth."""
    shown = rng.integers(offers, size=rows) == 0
    return (rng.random(rows) < rate).astype(float), np.full(rows, 1 / offers), shown.astype(float), rate


def sure_log(rng: np.random.Generator, rows: int, offers: int, rate: float) -> Log:
    """The same of a log that is 95 % sure of another offer for 9 in 10 customers, and of this one for the others."""
    mine = rng.random(rows) < 0.1
    chance = np.where(mine, 0.95 + 0.05 / offers, 0.05 / offers)
    shown = rng.random(rows) < chance
    truth = float(np.mean(np.where(mine, rate / 2, rate)))
    reward = rng.random(rows) < np.where(mine, rate / 2, rate)
    other = np.where(mine, 0.05 / offers, 0.95 + 0.05 / offers)
    return reward.astype(float), np.where(shown, chance, other), shown.astype(float), truth


def held(name: str, log: Log) -> tuple[PolicyValueEstimate, PolicyValueEstimate]:
    """The estimate with its normal interval, and with the one that holds."""
    reward, probability, target, _ = log
    if name == "dr":
        model = np.full(len(reward), 0.1)
        normal = doubly_robust(reward, probability, target, model, model)
        terms = payoff_terms(reward, probability, target, model, model, limits=SPAN)
    elif name == "snips":
        normal = self_normalised(reward, probability, target)
        terms = payoff_terms(reward, probability, target, normalised=True, limits=SPAN)
    else:
        normal = inverse_propensity(reward, probability, target)
        terms = payoff_terms(reward, probability, target, limits=SPAN)
    return normal, interval_that_holds(normal, terms, SPAN)


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
@pytest.mark.parametrize(
    ("make", "rows", "offers", "rate"),
    [(uniform_log, 1000, 5, 0.02), (uniform_log, 400, 10, 0.1), (sure_log, 1000, 2, 0.3)],
    ids=["rare", "small", "sure"],
)
def test_intervals_hold_where_few_rows_carry_the_estimate(
    name: str, make: type, rows: int, offers: int, rate: float
) -> None:
    runs, covered, given, by_normal = 150, 0, 0, 0
    for seed in range(runs):
        log = make(np.random.default_rng([seed, rows]), rows, offers, rate)
        normal, found = held(name, log)
        by_normal += normal.low <= log[3] <= normal.high
        if found.refused is None:
            given += 1
            covered += found.low <= log[3] <= found.high
            assert found.low <= found.value <= found.high
        assert found.value == normal.value
    print(f"{name}: {covered / given:.1%} of {given} given; normal {by_normal / runs:.1%}")  # noqa: T201
    assert given >= 0.4 * runs
    assert covered >= 0.95 * given - 2.5 * math.sqrt(0.95 * 0.05 * given)


def test_intervals_hold_for_a_target_that_learns_on_its_way() -> None:
    """It shows what looks best in the rows before; the truth is what that earns in the mean of the log."""
    rates, runs, rows = np.array([0.1, 0.2, 0.3, 0.6]), 200, 300
    covered = dict.fromkeys(("ips", "snips", "dr"), 0)
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        shown = rng.integers(4, size=rows)
        reward = (rng.random(rows) < rates[shown]).astype(float)
        sums, counts = np.full(4, 0.1), np.full(4, 2.0)
        target, expected, direct, truths = np.zeros((4, rows))
        for t in range(rows):
            means = sums / counts
            best = means == means.max()
            chances = 0.05 / 4 + 0.95 * best / best.sum()
            target[t], expected[t] = chances[shown[t]], means[shown[t]]
            direct[t], truths[t] = chances @ means, chances @ rates
            sums[shown[t]] += reward[t]
            counts[shown[t]] += 1.0
        log = (reward, np.full(rows, 0.25), target)
        for name, normal, terms in (
            ("ips", inverse_propensity(*log), payoff_terms(*log, limits=SPAN)),
            ("snips", self_normalised(*log), payoff_terms(*log, normalised=True, limits=SPAN)),
            ("dr", doubly_robust(*log, expected, direct), payoff_terms(*log, expected, direct, limits=SPAN)),
        ):
            found = interval_that_holds(normal, terms, SPAN)
            assert found.refused is None
            covered[name] += found.low <= truths.mean() <= found.high
    print({name: f"{number / runs:.1%}" for name, number in covered.items()})  # noqa: T201
    assert min(covered.values()) >= 0.95 * runs - 2.5 * math.sqrt(0.95 * 0.05 * runs)


def test_many_rows_keep_the_normal_interval() -> None:
    log = uniform_log(np.random.default_rng(3), 20_000, 4, 0.3)
    for name in ("ips", "snips", "dr"):
        normal, found = held(name, log)
        assert found == normal


def test_no_acceptance_is_no_proof_that_there_are_none() -> None:
    """Of 100 customers who saw the offer nobody accepted it: the rule of three says at most 3 %."""
    shown = np.arange(400) < 100
    log = (np.zeros(400), np.full(400, 0.25), shown.astype(float), 0.0)
    normal, found = held("snips", log)
    assert (normal.low, normal.high) == (0.0, 0.0)
    assert found.low == 0.0
    assert 0.03 < found.high < 0.06


def test_an_interval_that_says_nothing_is_refused_with_what_would_help() -> None:
    log = sure_log(np.random.default_rng(1), 60, 20, 0.3)
    _, found = held("ips", log)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.refused is not None
    assert "more exploration" in found.refused


def test_a_single_row_and_equal_rewards_are_refused() -> None:
    one = inverse_propensity([1.0], [0.5], [0.5])
    found = interval_that_holds(one, payoff_terms([1.0], [0.5], [0.5], limits=SPAN), SPAN)
    assert "single row" in str(found.refused)
    nothing = inverse_propensity([0.0] * 9, [0.5] * 9, [0.5] * 9)
    found = interval_that_holds(nothing, payoff_terms([0.0] * 9, [0.5] * 9, [0.5] * 9), (0.0, 0.0))
    assert "All rewards are the same" in str(found.refused)


def test_rewards_in_another_unit_give_the_interval_in_that_unit() -> None:
    reward, probability, target, _ = uniform_log(np.random.default_rng(5), 500, 4, 0.2)
    ends = []
    for unit in (1.0, 100.0):
        normal = inverse_propensity(unit * reward, probability, target)
        terms = payoff_terms(unit * reward, probability, target, limits=(0.0, unit))
        found = interval_that_holds(normal, terms, (0.0, unit))
        ends.append((found.low / unit, found.high / unit))
    assert ends[0] == pytest.approx(ends[1])


def test_rows_of_one_unit_count_once() -> None:
    reward, probability, target, _ = uniform_log(np.random.default_rng(6), 500, 4, 0.2)
    normal, once = held("ips", (reward, probability, target, 0.2))
    thrice = [np.repeat(column, 3) for column in (reward, probability, target)]
    units = np.repeat(np.arange(500), 3)
    estimate = inverse_propensity(*thrice, units=units)
    found = interval_that_holds(estimate, payoff_terms(*thrice, units=units, limits=SPAN), SPAN)
    assert (found.low, found.high) == pytest.approx((once.low, once.high), rel=1e-3)
    assert normal.high < once.high


def test_the_largest_possible_weight_is_that_of_the_floor_seen_or_not() -> None:
    floor = 0.05 / 20
    sure = np.full(50, 0.95 + floor)
    never = np.append(sure, floor)  # what the floor showed once was another offer
    target = np.zeros(51)
    assert largest_possible_weight(never, target) == pytest.approx(1 / floor, rel=0.01)
    assert largest_possible_weight(np.full(10, 0.1), np.full(10, 1.0)) == 10.0
    assert largest_possible_weight(np.ones(3), np.ones(3)) == 1.0


def test_rewards_beyond_the_limits_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"not in \[0, 1\]"):
        payoff_terms([2.0], [0.5], [0.5], limits=SPAN)
    with pytest.raises(EvaluationError, match="no row"):
        payoff_terms([], [], [])


def test_on_policy_rows_have_an_interval_about_as_wide_as_the_binomial_one() -> None:
    """A policy that is judged on its own log: weights are 1, however small the chances were."""
    rng = np.random.default_rng(8)
    probability = np.where(rng.random(1000) < 0.05, 0.001, 0.96)
    reward = (rng.random(1000) < 0.1).astype(float)
    normal, found = held("ips", (reward, probability, probability, 0.1))
    assert (found.high - found.low) / (2 * Z95 * math.sqrt(0.09 / 1000)) < 1.2
    assert found.effective_rows == normal.effective_rows == 1000
