"""Whatever parameters are accepted, policies compute finite numbers and exact distributions."""

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest

from bandits.errors import PolicyParameterError
from bandits.policy import Candidates, GroupSums, Observation, PolicySpec, Sums
from bandits.registry import build_policy
from bandits.state import arm_contributions
from tests.support.bandits_fingerprint import FEATURES

COMMON: dict[str, tuple[Any, Any]] = {
    "default_propensity": (1e-4, 0.9999),
    "half_life_days": (1e-5, 36_500.0),
    "epsilon": (1e-4, 1.0),
}
BETA = {**COMMON, "strength": (0.1, 1e6)}
REGRESSION = {**COMMON, "ridge": (1e-3, 1e4), "shrinkage": (1e-3, 1e4), "group_shrinkage": (1e-3, 1e4)}
DRAWN = {**REGRESSION, "exploration": (0.0, 10.0), "draws": (8, 4096)}
RANGES: dict[str, dict[str, tuple[Any, Any]]] = {
    "thompson": {**BETA, "draws": (8, 4096)},
    "ucb": {**BETA, "exploration": (0.0, 10.0)},
    "epsilon_greedy": BETA,
    "linear_thompson": DRAWN,
    "logistic_thompson": DRAWN,
    "calibrated": {**DRAWN, "trust": (1e-3, 1e4)},
    "apprentice": {**DRAWN, "trust": (1e-3, 1e4), "caution": (0.0, 1e6)},
    "lin_ucb": {**REGRESSION, "alpha": (0.0, 100.0)},
    "squarecb": {**REGRESSION, "gamma_scale": (1e-3, 1e6), "gamma_exponent": (0.0, 2.0)},
}
"""The accepted range of every number, by algorithm and parameter."""
NOW_S = 1.8e9
BETA_ALGORITHMS = ("thompson", "ucb", "epsilon_greedy")


def corners(ranges: dict[str, tuple[Any, Any]]) -> list[dict[str, Any]]:
    """All ends alone, and random combinations of ends (all of them would be a thousand)."""
    names, random = list(ranges), np.random.default_rng(3)
    alone = [{name: end} for name in names for end in ranges[name]]
    mixed = [{name: ranges[name][int(random.integers(2))] for name in names} for _ in range(6)]
    return [*alone, *mixed, *({name: ranges[name][end] for name in names} for end in (0, 1))]


@pytest.mark.parametrize("algorithm", RANGES)
def test_all_accepted_corners_give_finite_numbers(algorithm: str) -> None:
    shares = ("shrink",) if algorithm in BETA_ALGORITHMS else ("shrink", "none", "all")
    for parameters, share in product(corners(RANGES[algorithm]), shares):
        chosen = parameters if algorithm in BETA_ALGORITHMS else {**parameters, "share": share}
        if share == "none":  # where nothing is shared, groups share nothing
            chosen.pop("group_shrinkage", None)
        features = () if algorithm in BETA_ALGORITHMS else FEATURES[:2]
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            check_finite(PolicySpec("p", 1, algorithm, chosen, features))


def check_finite(spec: PolicySpec) -> None:
    policy, random = build_policy(spec), np.random.default_rng(1)
    offers = np.arange(1, 6, dtype=np.uint32)
    own = np.zeros((5, policy.width))
    facts: tuple[dict[str, float], ...] = (
        {"customer.age": 18, "customer.income": 1e300},
        {"customer.age": 1e300, "customer.income": -5.0},
        {},
    )
    for n in range(12):
        base_propensity, expected = ((1.0, 0.999999), (0.0, 1e-300), (float("nan"), float("nan")))[n % 3]
        x = policy.encoder.encode(facts[n % 3], int(NOW_S * 1000))
        seen = Observation(n % 4 + 1, float(n % 2), base_propensity, x, expected, by_caller=n % 3 == 0)
        delta = arm_contributions(policy, seen, NOW_S - float(random.uniform(0.0, 1e6)))[1]
        assert np.isfinite(delta).all(), (spec, delta)
        own[n % 4] += delta * policy.decay.scale(policy.decay.period(NOW_S), policy.decay.tick(NOW_S))
    for scale in (1.0, 2.0**30):
        by_group = GroupSums(np.stack((own[:3].sum(axis=0), own[4])) * scale, np.array([0, 0, 0, -1, 1]))
        sums = Sums(offers, own * scale, own.sum(axis=0) * scale, by_group=by_group)
        prepared = policy.refresh(policy.prepare(sums), sums, np.array([1]))
        for known in facts:
            x = policy.encoder.encode(known, int(NOW_S * 1000))
            base = np.array([0.0, 1.0, np.nan, 0.3, 1e-30], dtype=np.float32)
            candidates = Candidates(offers, base, np.array([0.0, 1.0, 1e6, 1e-6, 7.0]), x)
            propensities = policy.propensities(prepared, candidates)
            assert ((propensities >= 0.0) & (propensities <= 1.0)).all(), (spec, propensities)
            probabilities = policy.selector(prepared, candidates)(np.array([True, True, True, False, True]))
            assert np.isfinite(probabilities).all(), (spec, probabilities)
            assert probabilities.sum() == pytest.approx(1.0), spec
            assert probabilities[3] == 0.0


@pytest.mark.parametrize("algorithm", RANGES)
def test_what_lies_outside_of_the_ranges_is_refused(algorithm: str) -> None:
    for name, (low, high) in RANGES[algorithm].items():
        outside: list[Any] = [high * 1.01 + 1, float("inf"), float("nan"), -1e-300]
        outside += [low * 0.9] if low else []
        for value in outside:
            with pytest.raises(PolicyParameterError):
                build_policy(PolicySpec("p", 1, algorithm, {name: value}))


@pytest.mark.parametrize("half_life_days", [1e-305, 5e-324, 9e-6])
def test_a_half_life_that_would_stop_every_learner_is_refused(half_life_days: float) -> None:
    with pytest.raises(PolicyParameterError, match="half_life_days must be 0, or a number between"):
        build_policy(PolicySpec("p", 1, "thompson", {"half_life_days": half_life_days}))
