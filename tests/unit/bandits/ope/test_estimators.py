"""Off-policy estimators: identities, refusals, and honest intervals."""

import math
from functools import lru_cache

import numpy as np
import pytest

from bandits.conformance.scenarios import make_scenario
from bandits.errors import BanditsError, EvaluationError
from bandits.intervals import Z95
from bandits.ope.estimators import PolicyValueEstimate, inverse_propensity, self_normalised
from bandits.policy import Candidates, FloatArray
from bandits.registry import build_policy
from bandits.sampling import uniform_draw
from tests.support.bandits_selection import arms, binomial_bounds, select, specification, view_of

ESTIMATORS = [inverse_propensity, self_normalised]
REWARD = [1.0, 0.0, 2.5, 1.0, -1.0]
PROBABILITY = [0.5, 0.25, 0.8, 0.1, 1.0]
TARGET = [0.9, 0.0, 0.2, 0.3, 1.0]


def test_inverse_propensity_is_the_mean_of_weighted_rewards() -> None:
    terms = [r * q / p for r, p, q in zip(REWARD, PROBABILITY, TARGET, strict=True)]
    mean = sum(terms) / 5
    deviation = math.sqrt(sum((term - mean) ** 2 for term in terms) / 4)
    estimate = inverse_propensity(REWARD, PROBABILITY, TARGET)
    assert estimate.value == pytest.approx(mean)
    assert estimate.high - estimate.value == pytest.approx(Z95 * deviation / math.sqrt(5))
    assert estimate.value - estimate.low == pytest.approx(estimate.high - estimate.value)
    assert (estimate.rows, estimate.left_out) == (5, 0)


def test_self_normalised_divides_by_the_sum_of_weights() -> None:
    weights = [q / p for p, q in zip(PROBABILITY, TARGET, strict=True)]
    value = sum(w * r for w, r in zip(weights, REWARD, strict=True)) / sum(weights)
    spread = sum((w * (r - value)) ** 2 for w, r in zip(weights, REWARD, strict=True)) * 5 / 4
    estimate = self_normalised(REWARD, PROBABILITY, TARGET)
    assert estimate.value == pytest.approx(value)
    assert estimate.high - estimate.value == pytest.approx(Z95 * math.sqrt(spread) / sum(weights))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_evaluating_the_logging_policy_itself_gives_the_plain_mean(estimator: type) -> None:
    estimate = estimator(REWARD, PROBABILITY, PROBABILITY)
    assert estimate.value == pytest.approx(np.mean(REWARD))
    assert estimate.high - estimate.low == pytest.approx(2 * Z95 * np.std(REWARD, ddof=1) / math.sqrt(5))
    assert estimate.effective_rows == 5


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rewards_in_another_unit_give_the_estimate_in_that_unit(estimator: type) -> None:
    one, cents = (estimator(np.array(REWARD) * unit, PROBABILITY, TARGET) for unit in (1, 100))
    assert (cents.value, cents.low, cents.high) == pytest.approx(
        (one.value * 100, one.low * 100, one.high * 100)
    )


def test_only_the_self_normalised_estimate_moves_along_with_all_rewards() -> None:
    shifted = np.array(REWARD) + 10
    a, b = (self_normalised(reward, PROBABILITY, TARGET) for reward in (np.array(REWARD), shifted))
    assert (b.value - a.value, b.low - a.low, b.high - a.high) == pytest.approx((10, 10, 10))
    a, b = (inverse_propensity(reward, PROBABILITY, TARGET) for reward in (np.array(REWARD), shifted))
    assert b.value - a.value != pytest.approx(10)


def test_effective_rows_count_how_evenly_the_weight_is_spread() -> None:
    assert inverse_propensity([1, 1, 1, 1], [0.5] * 4, [0.5, 0.5, 0, 0]).effective_rows == 2
    lopsided = inverse_propensity([0] * 100, [1e-3] + [1.0] * 99, [1.0] * 100)
    assert 1 < lopsided.effective_rows < 1.3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rows_of_unknown_probability_are_refused_or_left_out_and_counted(estimator: type) -> None:
    reward, target = [*REWARD, 1.0, 1.0], [*TARGET, 1.0, math.nan]
    probability = [*PROBABILITY, math.nan, math.nan]
    with pytest.raises(EvaluationError, match="probability of 2 of 7 rows is unknown"):
        estimator(reward, probability, target)
    expected = estimator(REWARD, PROBABILITY, TARGET)
    found = estimator(reward, probability, target, unknown="leave_out")
    assert found == PolicyValueEstimate(
        expected.value,
        expected.low,
        expected.high,
        rows=5,
        left_out=2,
        effective_rows=expected.effective_rows,
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (([1], [0.5, 0.5], [1]), "of one length"),
        (([[1]], [[0.5]], [[1]]), "of one length"),
        (([], [], []), "no row"),
        (([math.nan], [0.5], [1]), "reward is not a finite"),
        (([math.inf], [0.5], [1]), "reward is not a finite"),
        (([1], [0.0], [1]), "what was logged had a chance"),
        (([1], [1.01], [1]), "what was logged had a chance"),
        (([1], [-0.5], [1]), "what was logged had a chance"),
        (([1], [0.5], [1.01]), "target probability"),
        (([1], [0.5], [-0.1]), "target probability"),
        (([1], [0.5], [math.nan]), "target probability"),
        (([1, 1], [0.5, 0.5], [0, 0]), "would have chosen nothing"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_a_reason(
    estimator: type, rows: tuple[list[float], list[float], list[float]], reason: str
) -> None:
    with pytest.raises(EvaluationError, match=reason):
        estimator(*rows)
    assert issubclass(EvaluationError, BanditsError)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_nothing_known_is_no_estimate_even_when_rows_are_left_out(estimator: type) -> None:
    with pytest.raises(EvaluationError, match="no row"):
        estimator([1.0], [math.nan], [1.0], unknown="leave_out")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_row_says_nothing_of_the_spread(estimator: type) -> None:
    estimate = estimator([1.0], [0.5], [0.5])
    assert (estimate.value, estimate.low, estimate.high) == (1.0, -math.inf, math.inf)


REPLICATIONS, ROWS = 1000, 400
LOGGING = np.array([0.55, 0.25, 0.1, 0.05, 0.05])
TARGETED = np.array([0.1, 0.2, 0.3, 0.3, 0.1])
RATE = np.array([0.1, 0.2, 0.3, 0.5, 0.05])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_intervals_cover_the_true_value_19_times_in_20(estimator: type) -> None:
    truth = float(TARGETED @ RATE)
    rng = np.random.default_rng(7)
    covered, total = 0, 0.0
    for _ in range(REPLICATIONS):
        chosen = rng.choice(5, ROWS, p=LOGGING)
        reward = rng.random(ROWS) < RATE[chosen]
        estimate = estimator(reward, LOGGING[chosen], TARGETED[chosen])
        covered += estimate.low <= truth <= estimate.high
        total += estimate.value
    # 4 scores around 95 %, and 1.5 points for the normal approximation, whose coverage at 400 skewed rows is lower
    low, high = binomial_bounds(REPLICATIONS, 0.95)
    assert low - 0.015 * REPLICATIONS < covered < high
    assert total / REPLICATIONS == pytest.approx(truth, rel=0.02)


def test_a_logged_probability_that_is_wrong_is_noticed_by_the_coverage() -> None:
    """The same simulation with the scores' shares logged instead of the chances: hardly any interval is right."""
    truth = float(TARGETED @ RATE)
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(200):
        chosen = rng.choice(5, ROWS, p=LOGGING)
        reward = rng.random(ROWS) < RATE[chosen]
        estimate = inverse_propensity(reward, np.full(ROWS, 0.2), TARGETED[chosen])
        covered += estimate.low <= truth <= estimate.high
    assert covered < 100


NUMBERS = [2, 3, 5, 7]
TRUE_RATE = {2: 0.6, 3: 0.2, 5: 0.4, 7: 0.1}
PRIORS = np.array([0.3, 0.4, 0.35, np.nan], dtype=np.float32)


def _answered(decision: str, number: int) -> float:
    return float(uniform_draw(f"{decision}/answer/{number}") < TRUE_RATE[number])


def _targets(random: bool) -> tuple[FloatArray, float]:
    """The target's distribution over the view's offers, and its true value."""
    policy = build_policy(specification("random" if random else "propensity"))
    candidates = Candidates(np.array(NUMBERS, dtype=np.uint32), PRIORS, np.ones(4))
    chances = policy.selector(None, candidates)(np.ones(4, dtype=bool))
    return chances, float(chances @ np.array(list(TRUE_RATE.values())))


@lru_cache
def _log(decisions: int, slots: int, epsilon: float) -> list[list[tuple[int, float, float]]]:
    """Return thompson's choices and their outcomes: (offer number, logged probability, reward) by slot."""
    view, policy = view_of(NUMBERS), build_policy(specification("thompson", epsilon=epsilon))
    prepared = policy.prepare(arms(view.numbers, make_scenario(policy, 4, seed=5).sums.own))
    available = np.ones(4, dtype=bool)
    log = []
    for i in range(decisions):
        choices = select(view, available, PRIORS, policy, prepared, slots, f"d{i}").choices
        log.append([(c.offer.number, c.probability, _answered(f"d{i}", c.offer.number)) for c in choices])
    return log


@pytest.mark.parametrize("random", [True, False], ids=["random", "propensity"])
def test_what_thompson_logs_evaluates_a_known_policy(random: bool) -> None:
    """Through the engine itself: decisions by thompson, with the probabilities that it logs."""
    replications, rows = 150, 200
    target, truth = _targets(random)
    target_of = dict(zip(NUMBERS, target.tolist(), strict=True))
    log = _log(replications * rows, 1, 0.05)
    covered, values = 0, []
    for start in range(0, len(log), rows):
        numbers, probability, reward = zip(*(slots[0] for slots in log[start : start + rows]), strict=True)
        estimate = inverse_propensity(reward, probability, [target_of[number] for number in numbers])
        covered += estimate.low <= truth <= estimate.high
        values.append(estimate.value)
    low, _ = binomial_bounds(replications, 0.95)
    assert covered > low - 0.015 * replications
    error = float(np.std(values, ddof=1)) / math.sqrt(replications)
    assert abs(float(np.mean(values)) - truth) < 4 * error


def test_whole_answers_are_evaluated_by_the_product_over_their_slots() -> None:
    log = _log(6000, 2, 0.5)
    reward = [sum(answer for _, _, answer in slots) for slots in log]
    probability = [slots[0][1] * slots[1][1] for slots in log]
    estimate = inverse_propensity(reward, probability, [1 / 4 * 1 / 3] * len(log))
    truth = 2 * sum(TRUE_RATE.values()) / 4  # two different offers, evenly: each has the mean rate
    assert estimate.low <= truth <= estimate.high
    assert estimate.high - estimate.low < 0.1


def test_later_slots_are_evaluated_given_what_the_earlier_ones_took() -> None:
    log = _log(6000, 2, 0.5)
    estimate = self_normalised(
        [slots[1][2] for slots in log], [slots[1][1] for slots in log], [1 / 3] * len(log)
    )
    rest = [(sum(TRUE_RATE.values()) - TRUE_RATE[slots[0][0]]) / 3 for slots in log]
    assert estimate.low <= float(np.mean(rest)) <= estimate.high
    assert estimate.high - estimate.low < 0.1
