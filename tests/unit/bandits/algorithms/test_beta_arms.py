"""The base of the policies on Beta arms: contributions, the posterior of a level, and a customer's odds."""

import math

import numpy as np
import pytest

from bandits.algorithms.beta_arms import BetaArmsPolicy, odds_to_probability
from bandits.algorithms.thompson import ThompsonPolicy
from bandits.policy import Candidates, Observation
from tests.support.bandits_selection import specification, sums

M, Q0 = 20.0, 0.05
POLICY: BetaArmsPolicy = ThompsonPolicy(specification("thompson", strength=M, default_propensity=Q0))


def test_an_outcome_adds_what_happened_and_what_was_expected() -> None:
    assert POLICY.learn(Observation(3, 1.0, 0.25)).tolist() == [1.0, 1.0, 0.25]
    assert POLICY.learn(Observation(3, 0.0, math.nan)).tolist() == [1.0, 0.0, Q0]


def test_without_evidence_the_level_is_what_was_expected() -> None:
    found = POLICY.posterior(sums(0, 0, 0)[None])
    assert (found.alpha[0], found.beta[0]) == pytest.approx((M * Q0, M * (1 - Q0)))
    assert found.ratio[0] == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "s", "e"), [(100, 30, 10), (7.5, 7.5, 0.25), (5000, 400, 300)])
def test_evidence_weighs_against_the_prior_in_observations(n: float, s: float, e: float) -> None:
    found = POLICY.posterior(sums(n, s, e)[None])
    expected = (M * Q0 + e) / (M + n)
    assert found.alpha[0] == pytest.approx(M * expected + s)
    assert found.alpha[0] + found.beta[0] == pytest.approx(M + n)
    assert found.expected_odds[0] == pytest.approx(expected / (1 - expected))


def test_impossible_sums_count_as_the_nearest_possible() -> None:
    found = POLICY.posterior(np.array([sums(-1, -2, -3), sums(4, 9, 1)]))
    nearest = POLICY.posterior(np.array([sums(0, 0, 0), sums(4, 4, 1)]))
    assert found.alpha.tolist() == nearest.alpha.tolist()
    assert found.beta.tolist() == nearest.beta.tolist()


def test_odds_are_those_of_the_propensity_and_never_infinite() -> None:
    base_propensity = np.array([0.25, 0.0, 1.0, np.nan], dtype=np.float32)
    offers = np.arange(1, 5, dtype=np.uint32)
    odds = POLICY.odds(Candidates(offers, base_propensity, np.ones(4)))
    assert odds_to_probability(odds) == pytest.approx([0.25, 1e-6, 1 - 1e-6, Q0])
