"""Summaries of posteriors, against plain calculations."""

from typing import Any

import numpy as np
import pytest

from bandits.algorithms.posterior_summary import PosteriorSummary, summarise_posterior
from bandits.features import Feature
from bandits.policy import Candidates, Observation, Policy, PolicySpec, Sums
from bandits.registry import build_policy
from bandits.state import ArmTable, fold_observations

OFFERS = np.array([1, 2, 3], dtype=np.uint32)
AT_S = 1_700_000_000.0
FEATURES = (Feature("age", "numeric", "customer.age", low=0.0, high=100.0),)


def taught(
    algorithm: str, outcomes: list[tuple[int, float, float, float]], **more: Any
) -> tuple[Policy, Sums]:
    """A policy with what it learned of ``(offer, reward, prior, age)``."""
    parameters = {} if algorithm == "random" else {"half_life_days": 0.0}
    policy = build_policy(PolicySpec("p", 1, algorithm, parameters | more.pop("parameters", {}), **more))
    table = ArmTable(policy.width)
    seen = []
    for offer, reward, base_propensity, age in outcomes:
        facts = {"customer.age": age}
        x = policy.encoder.encode(facts, round(AT_S * 1000))
        seen.append((Observation(offer, reward, base_propensity, x, 0.3, facts), AT_S))
    for name, delta in fold_observations(policy, seen).items():
        table.add(name, delta)
    return policy, table.read(policy, OFFERS, policy.decay.tick(AT_S))


def outcomes(
    offer: int, count: int, accepted: int, base_propensity: float = float("nan")
) -> list[tuple[int, float, float, float]]:
    """So many outcomes of an offer, of customers of all ages."""
    return [
        (offer, float(k < accepted), base_propensity, 20.0 + 60.0 * (k * 7 % count) / count)
        for k in range(count)
    ]


@pytest.mark.parametrize("algorithm", ["thompson", "ucb", "epsilon_greedy"])
def test_levels_of_beta_arms(algorithm: str) -> None:
    parameters = {"strength": 10.0, "default_propensity": 0.2}
    policy, sums = taught(
        algorithm, [*outcomes(1, 40, 10), *outcomes(2, 400, 100, 0.5)], parameters=parameters
    )
    found = summarise_posterior(policy, sums)
    assert found is not None
    assert found.observations == pytest.approx([40, 400, 0], abs=0.01)
    assert found.rewards == pytest.approx([10, 100, 0], abs=0.01)
    levels = [(2 + 10, 8 + 30), (10 * 202 / 410 + 100, 10 * 208 / 410 + 300), (2, 8)]
    rng = np.random.default_rng(1)
    for row, (alpha, beta) in enumerate(levels):
        draws = rng.beta(alpha, beta, 400_000)
        assert found.mean[row] == pytest.approx(alpha / (alpha + beta), abs=1e-3)
        low, high = np.quantile(draws, [0.025, 0.975])
        assert (found.low[row], found.high[row]) == pytest.approx((low, high), abs=2e-3)


@pytest.mark.parametrize(
    "algorithm", ["linear_thompson", "lin_ucb", "logistic_thompson", "squarecb", "calibrated", "apprentice"]
)
@pytest.mark.parametrize("features", [(), FEATURES])
def test_typical_requests_of_regressions(algorithm: str, features: tuple[Feature, ...]) -> None:
    policy, sums = taught(
        algorithm, [*outcomes(1, 300, 90, 0.3), *outcomes(2, 2000, 1200, 0.3)], features=features
    )
    found = summarise_posterior(policy, sums)
    assert found is not None
    assert found.observations == pytest.approx([300, 2000, 0], abs=0.01)
    assert found.rewards == pytest.approx([90, 1200, 0], abs=0.01)
    assert found.mean[:2] == pytest.approx([0.3, 0.6], abs=0.05)
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()
    width = found.high - found.low
    assert width[1] < width[0] < width[2]
    if algorithm != "lin_ucb":
        assert width[0] < 0.2
    age = float(np.mean([o[3] for o in outcomes(1, 300, 90)]))
    x = policy.encoder.encode({"customer.age": age}, round(AT_S * 1000))
    candidates = Candidates(OFFERS, np.full(3, 0.3, dtype=np.float32), np.ones(3), x)
    typical = policy.propensities(policy.prepare(sums), candidates)
    assert found.mean[:2] == pytest.approx(typical[:2], abs=0.02)


def test_before_anything_is_known() -> None:
    policy, sums = taught("linear_thompson", [], parameters={"default_propensity": 0.2})
    found = summarise_posterior(policy, sums)
    assert found is not None
    assert found.mean == pytest.approx([0.2] * 3)


def test_of_others_what_they_tell_themselves() -> None:
    policy, sums = taught("random", [])
    assert summarise_posterior(policy, sums) is None
    said = PosteriorSummary(*(np.zeros(3) for _ in range(5)))
    policy.posterior_summary = lambda _: said  # type: ignore[attr-defined]
    assert summarise_posterior(policy, sums) is said
