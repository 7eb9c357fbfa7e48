"""The maths of ``ucb`` and ``epsilon_greedy`` against the same in plain Python."""

import math
from typing import Any

import numpy as np
import pytest

from bandits.algorithms.epsilon_greedy import EpsilonGreedyPolicy
from bandits.algorithms.ucb import UCBPolicy, upper_bound
from bandits.errors import PolicyParameterError
from bandits.policy import Candidates, FloatArray
from bandits.registry import build_policy
from tests.support.bandits_selection import arms, specification, sums

M, Q0 = 20.0, 0.05
OFFERS = np.array([3, 8, 11, 40, 41], dtype=np.uint32)
OWN = np.array([sums(0, 0, 0), sums(100, 30, 10), sums(50, 0, 5), sums(5000, 400, 300), sums(7.5, 7.5, 0.25)])
PRIOR = [0.05, 0.2, 0.5, 0.01, math.nan]
WEIGHT = [5.0, 0.8, 2.0, 22.0, 1.0]
EVERYBODY = np.ones(5, dtype=bool)


def ucb(**parameters: float) -> UCBPolicy:
    return UCBPolicy(specification("ucb", **parameters))


def greedy(**parameters: float) -> EpsilonGreedyPolicy:
    return EpsilonGreedyPolicy(specification("epsilon_greedy", **parameters))


def candidates(base_propensity: Any = PRIOR, weight: Any = WEIGHT) -> Candidates:
    return Candidates(
        OFFERS, np.asarray(base_propensity, dtype=np.float32), np.asarray(weight, dtype=np.float64)
    )


def shared(t: float) -> FloatArray:
    return sums(t, 0.1 * t, 0.1 * t)


def entropy(p: float, v: float) -> float:
    """The relative entropy of two Bernoulli distributions."""
    return p * math.log(p / v) + (1 - p) * math.log((1 - p) / (1 - v))


def highest(p: float, bound: float) -> float:
    """The largest chance within ``bound`` of ``p``, by halving the interval."""
    low, high = p, 1.0 - 1e-6
    if entropy(p, high) <= bound:
        return high
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy(p, middle) <= bound else (low, middle)
    return low


def plain(t: float, exploration: float, optimistic: bool) -> list[float]:
    """The customer's propensities at the mean levels, or at the highest plausible ones."""
    found = []
    for (n, s, e), q in zip(OWN.tolist(), PRIOR, strict=True):
        expected = (M * Q0 + e) / (M + n)
        level = (M * expected + s) / (M + n)
        if optimistic:
            steps = math.ceil(4 * math.log2(1 + t))
            level = highest(level, exploration * steps * math.log(2) / 4 / (M + n))
        odds_of_prior = Q0 / (1 - Q0) if math.isnan(q) else float(np.float32(q)) / (1 - float(np.float32(q)))
        odds = odds_of_prior * level / (1 - level) / (expected / (1 - expected))
        found.append(odds / (1 + odds))
    return found


@pytest.mark.parametrize("p", [1e-5, 0.003, 0.05, 0.3, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("bound", [1e-9, 1e-5, 1e-3, 0.02, 0.3, 2.0, 30.0])
def test_the_upper_bound_is_found_by_any_method(p: float, bound: float) -> None:
    found = upper_bound(np.array([p]), np.array([bound]))[0]
    assert found == pytest.approx(highest(p, bound), rel=1e-9, abs=1e-12)


def test_with_no_evidence_at_all_nothing_is_plausible_but_the_prior() -> None:
    np.testing.assert_array_equal(upper_bound(np.array([0.0, 0.3, 1.0]), np.zeros(3)), [1e-6, 0.3, 1 - 1e-6])


def test_both_expect_the_posterior_means() -> None:
    for policy in (ucb(), greedy()):
        prepared: Any = policy.prepare(arms(OFFERS, OWN, shared(1000.0)))
        found = policy.propensities(prepared, candidates())
        np.testing.assert_allclose(found, plain(0.0, 1.0, optimistic=False), rtol=1e-9)


@pytest.mark.parametrize("t", [0.0, 1.0, 37.5, 1000.0, 1e6])
@pytest.mark.parametrize("exploration", [0.0, 0.3, 1.0])
def test_ucb_takes_the_best_plausible_score(t: float, exploration: float) -> None:
    policy = ucb(exploration=exploration, epsilon=0.2)
    prepared = policy.prepare(arms(OFFERS, OWN, shared(t)))
    optimistic = np.array(plain(t, exploration, optimistic=True))
    raised = policy.odds(candidates()) * prepared.upper / (1 - prepared.upper) / prepared.expected_odds
    np.testing.assert_allclose(raised / (1 + raised), optimistic, rtol=1e-6)  # halving is no more exact at 0
    for weight in (WEIGHT, [1.0] * 5, [0.0, 1.0, 1.0, 50.0, 0.2], [3.0, 0.1, 0.1, 0.1, 0.1]):
        for available in (EVERYBODY, np.array([True, False, True, True, False])):
            found = policy.selector(prepared, candidates(weight=weight))(available)
            n = int(available.sum())
            expected = np.where(available, 0.2 / n, 0.0)
            expected[np.argmax(np.where(available, optimistic * weight, -1.0))] += 0.8
            np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_is_little_known_is_tried_before_what_is_known_to_be_better() -> None:
    """The first has been accepted 10 times in 100, the second never been tried: no prior says which is better."""
    own = np.array([sums(0, 0, 0), sums(100, 10, 5)])
    given = Candidates(OFFERS[:2], np.full(2, np.nan, np.float32), np.ones(2))
    both = np.ones(2, dtype=bool)
    for policy, best in ((ucb(exploration=1.0), 0), (ucb(exploration=0.0), 1), (greedy(), 1)):
        prepared: Any = policy.prepare(arms(OFFERS[:2], own, shared(100.0)))
        assert np.argmax(policy.selector(prepared, given)(both)) == best
        assert policy.propensities(prepared, given)[1] > policy.propensities(prepared, given)[0]


def test_bounds_widen_when_others_are_observed_but_not_with_every_observation() -> None:
    policy = ucb()
    prepared = policy.prepare(arms(OFFERS, OWN, shared(1000.0)))
    before, nobody = prepared.upper.copy(), np.zeros(0, dtype=np.intp)
    nothing = np.full_like(OWN, np.nan)
    same = policy.refresh(prepared, arms(OFFERS, nothing, shared(1001.0)), nobody)
    np.testing.assert_array_equal(same.upper, before)
    wider = policy.refresh(same, arms(OFFERS, nothing, shared(2000.0)), nobody)
    assert (wider.upper > before).all()
    np.testing.assert_array_equal(wider.upper, policy.prepare(arms(OFFERS, OWN, shared(2000.0))).upper)


def test_greedy_takes_the_best_score() -> None:
    policy = greedy(epsilon=0.5)
    prepared = policy.prepare(arms(OFFERS, OWN))
    scores = np.array(plain(0.0, 1.0, optimistic=False)) * WEIGHT
    found = policy.selector(prepared, candidates())(EVERYBODY)
    expected = np.where(np.arange(5) == np.argmax(scores), 0.6, 0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("algorithm", ["ucb", "epsilon_greedy"])
def test_equals_share(algorithm: str) -> None:
    policy = build_policy(specification(algorithm, epsilon=0.1))
    own = np.tile(sums(100, 30, 10), (5, 1))
    prepared = policy.prepare(arms(OFFERS, own, shared(500.0)))
    found = policy.selector(prepared, candidates([0.2] * 5, [1, 2, 2, 1, 0]))(EVERYBODY)
    np.testing.assert_allclose(found, [0.02, 0.47, 0.47, 0.02, 0.02], rtol=1e-12)
    found = policy.selector(prepared, candidates([0.2] * 5, [0] * 5))(EVERYBODY)
    np.testing.assert_allclose(found, [0.2] * 5, rtol=1e-12)


def test_their_parameters() -> None:
    assert (ucb().epsilon, greedy().epsilon) == (0.05, 0.1)
    assert (ucb().shared, greedy().shared) == (True, False)
    for algorithm, name in (("ucb", "draws"), ("epsilon_greedy", "exploration")):
        with pytest.raises(PolicyParameterError, match=f"{algorithm} has no parameter '{name}'"):
            build_policy(specification(algorithm, **{name: 10}))
