"""The maths of ``thompson`` against the same written out in plain Python, and against the Beta's known moments."""

import math
from typing import Any

import numpy as np
import pytest

from bandits.algorithms.beta_arms import DAY_S
from bandits.algorithms.thompson import ThompsonPolicy
from bandits.policy import Candidates, FloatArray, Observation
from bandits.state import ArmTable, arm_contributions
from tests.support.bandits_selection import arms, specification, sums

M, Q0 = 20.0, 0.05
OFFERS = np.array([3, 8, 11, 40, 41], dtype=np.uint32)
STATE = np.array(
    [sums(0, 0, 0), sums(100, 30, 10), sums(50, 0, 5), sums(5000, 400, 300), sums(7.5, 7.5, 0.25)]
)
PRIOR = [0.05, 0.2, 0.5, 0.01, math.nan]
WEIGHT = [5.0, 0.8, 2.0, 22.0, 1.0]


def thompson(**parameters: float) -> ThompsonPolicy:
    return ThompsonPolicy(specification("thompson", **parameters))


def candidates(base_propensity: Any = PRIOR, weight: Any = WEIGHT) -> Candidates:
    base_propensity = np.asarray(base_propensity, dtype=np.float32)
    return Candidates(
        OFFERS[: len(base_propensity)],
        base_propensity,
        np.asarray(weight, dtype=np.float64)[: len(base_propensity)],
    )


def posterior(n: float, s: float, e: float) -> tuple[float, float, float]:
    """Alpha, beta, and the mean propensity of those who were shown the offer."""
    expected = (M * Q0 + e) / (M + n)
    return M * expected + s, M * (1 - expected) + n - s, expected


def shifted(q: float, level: float, expected: float) -> float:
    """The propensity ``q`` after its odds are multiplied with the odds ratio of level and expectation."""
    q = Q0 if math.isnan(q) else float(np.float32(q))
    odds = q / (1 - q) * (level / (1 - level)) / (expected / (1 - expected))
    return odds / (1 + odds)


def levels(policy: ThompsonPolicy, state: FloatArray) -> FloatArray:
    """The drawn acceptance levels theta, shape ``(K, n)``, recovered from the drawn odds ratios."""
    expected = np.array([posterior(*row)[2] for row in state.tolist()])
    odds = policy.prepare(arms(OFFERS, state)).draws.astype(np.float64) * expected / (1 - expected)
    theta: FloatArray = odds / (1 + odds)
    return theta


def test_an_observation_is_counted_with_what_was_expected_of_it() -> None:
    policy = thompson()
    assert policy.learn(Observation(7, 1.0, 0.3)).tolist() == [1.0, 1.0, 0.3]
    assert policy.learn(Observation(7, 0.0, math.nan)).tolist() == [1.0, 0.0, Q0]


def test_propensities_are_the_shifted_odds_at_the_posterior_mean() -> None:
    policy = thompson()
    expected = []
    for q, row in zip(PRIOR, STATE.tolist(), strict=True):
        alpha, beta, mean = posterior(*row)
        expected.append(shifted(q, alpha / (alpha + beta), mean))
    found = policy.propensities(policy.prepare(arms(OFFERS, STATE)), candidates())
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_win_frequencies_are_those_of_a_count_over_the_same_draws() -> None:
    policy = thompson(draws=500)
    theta, wins = levels(policy, STATE), [0] * 5
    available = [True, True, False, True, True]
    for draw in theta.tolist():
        scores = [
            shifted(q, level, posterior(*row)[2]) * weight if there else -1.0
            for q, level, row, weight, there in zip(
                PRIOR, draw, STATE.tolist(), WEIGHT, available, strict=True
            )
        ]
        wins[scores.index(max(scores))] += 1
    assert sum(count > 0 for count in wins) >= 3  # a contest, not a walkover
    found = policy.selector(policy.prepare(arms(OFFERS, STATE)), candidates())(np.array(available))
    floor = 0.05 / 4
    expected = [
        floor + (1 - 4 * floor) * count / 500 if there else 0.0
        for count, there in zip(wins, available, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=0)


def test_draws_have_the_moments_of_their_beta() -> None:
    policy = thompson(draws=4096)
    theta = levels(policy, STATE)
    for column, row in zip(theta.T, STATE.tolist(), strict=True):
        alpha, beta, _ = posterior(*row)
        total = alpha + beta
        mean, variance = alpha / total, alpha * beta / (total**2 * (total + 1))
        assert abs(column.mean() - mean) < 4 * math.sqrt(variance / 4096)
        excess = 6 * ((alpha - beta) ** 2 * (total + 1) - alpha * beta * (total + 2))
        excess /= alpha * beta * (total + 2) * (total + 3)
        assert abs(column.var() - variance) < 4 * variance * math.sqrt((2 + excess) / 4096)


def test_draws_of_different_arms_are_independent() -> None:
    theta = levels(thompson(draws=4096), np.tile(sums(100, 30, 10), (5, 1)))
    correlations = np.asarray(np.corrcoef(theta.T))[np.triu_indices(5, 1)]
    assert np.abs(correlations).max() < 4 / math.sqrt(4096)


def test_draws_stay_until_the_sums_change() -> None:
    policy, changed = thompson(), STATE.copy()
    changed[1, 0] = np.nextafter(changed[1, 0], np.inf)
    old, new = policy.prepare(arms(OFFERS, STATE)).draws, policy.prepare(arms(OFFERS, changed)).draws
    assert (old[:, 1] != new[:, 1]).all()
    np.testing.assert_array_equal(np.delete(old, 1, 1), np.delete(new, 1, 1))


@pytest.mark.parametrize("q", [0.0001, 0.01, 0.3, 0.5, 0.999])
@pytest.mark.parametrize("strength", [0.1, 20.0, 1e6])
def test_without_evidence_the_estimate_is_the_precomputed_propensity(q: float, strength: float) -> None:
    policy = thompson(strength=strength)
    found = policy.propensities(policy.prepare(arms(OFFERS[:2], np.zeros((2, 3)))), candidates([q, math.nan]))
    np.testing.assert_allclose(found, np.array([np.float32(q), Q0], dtype=np.float64), rtol=1e-9)


def test_without_propensities_it_is_the_plain_beta_bernoulli_arm() -> None:
    n, s = np.array([0.0, 10.0, 10.0, 400.0, 400.0]), np.array([0.0, 0.0, 10.0, 20.0, 399.0])
    state = np.stack([n, s, n * Q0], axis=1)
    policy = thompson()
    found = policy.propensities(policy.prepare(arms(OFFERS, state)), candidates([math.nan] * 5))
    np.testing.assert_allclose(found, (M * Q0 + s) / (M + n), rtol=1e-9)


@pytest.mark.parametrize("rate", [0.002, 0.08, 0.7])
def test_with_much_evidence_the_level_is_the_observed_rate(rate: float) -> None:
    n = 1e6
    for q in (0.01, 0.4):
        state = np.array([sums(n, rate * n, q * n)])
        policy = thompson()
        found = policy.propensities(policy.prepare(arms(OFFERS[:1], state)), candidates([q]))[0]
        assert found == pytest.approx(rate, rel=5e-3)


def test_with_much_evidence_the_average_over_customers_is_the_observed_rate() -> None:
    """Odds are shifted by one factor, which hits the average only nearly: within a tenth for likely spreads."""
    rng = np.random.default_rng(1)
    q = rng.beta(2, 30, 1000).astype(np.float32)
    n, rate = 1e6, 0.12
    policy, state = thompson(), np.array([sums(n, rate * n, float(q.mean()) * n)])
    prepared = policy.prepare(arms(OFFERS[:1], state))
    found = [float(policy.propensities(prepared, candidates([each]))[0]) for each in q]
    assert np.mean(found) == pytest.approx(rate, rel=0.1)
    assert np.array_equal(np.argsort(found, kind="stable"), np.argsort(q, kind="stable"))


def test_evidence_is_weighted_against_the_prior_in_observations() -> None:
    """After as many observations as the prior is worth, the level lies half-way."""
    policy = thompson()
    state = np.array([sums(M, 0.25 * M, Q0 * M)])
    found = policy.propensities(policy.prepare(arms(OFFERS[:1], state)), candidates([Q0]))[0]
    assert found == pytest.approx((Q0 + 0.25) / 2, rel=1e-6)


def test_sums_that_rounding_made_impossible_are_taken_for_the_nearest_possible() -> None:
    policy = thompson()
    odd = np.array([sums(10, 10.000001, 5), sums(-1e-9, 0, 0), sums(10, -1e-9, 5), sums(1, 1, 99)])
    near = np.array([sums(10, 10, 5), sums(0, 0, 0), sums(10, 0, 5), sums(1, 1, 99)])
    a, b = policy.prepare(arms(OFFERS[:4], odd)), policy.prepare(arms(OFFERS[:4], near))
    np.testing.assert_array_equal(a.ratio, b.ratio)
    assert np.isfinite(a.draws).all()
    assert (a.draws > 0).all()


def test_weights_that_vanish_in_single_precision_count_as_zero() -> None:
    """Otherwise every draw would be a tie, and ties go to the first."""
    policy = thompson()
    tiny = candidates([0.1, 0.2, 0.3], [1e-60] * 3)
    found = policy.selector(policy.prepare(arms(OFFERS[:3], STATE[:3])), tiny)(np.ones(3, dtype=bool))
    np.testing.assert_allclose(found, [1 / 3] * 3)


def test_half_of_the_evidence_is_forgotten_in_a_half_life() -> None:
    policy, table, at_s = thompson(half_life_days=90.0), ArmTable(3), 1_750_000_000.0
    for _ in range(100):
        (field,), delta = arm_contributions(policy, Observation(3, 1.0, 0.5), at_s)
        table.add(field, delta)
    now, later = (
        table.read(policy, OFFERS[:1], policy.decay.tick(t)).own[0] for t in (at_s, at_s + 90 * DAY_S)
    )
    np.testing.assert_allclose(now, [100, 100, 50], rtol=0.022)  # a tick is a 32nd of a half-life
    np.testing.assert_allclose(later, now / 2, rtol=1e-12)
    never = thompson(half_life_days=0.0)
    (field,), delta = arm_contributions(never, Observation(3, 1.0, 0.5), at_s)
    assert (field, delta.tolist()) == ("3:0", [1.0, 1.0, 0.5])
