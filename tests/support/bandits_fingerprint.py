"""Prints digests of what all policies compute, so that machines can be compared: ``python -m`` this, anywhere."""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from bandits.features import Feature
from bandits.policy import Candidates, FloatArray, GroupSums, Observation, PolicySpec, Sums
from bandits.registry import build_policy
from bandits.state import arm_contributions

OFFERS = 30
OBSERVATIONS = 100
NOW_S = 1.8e9
FEATURES = (
    Feature("age", "numeric", "customer.age", low=18.0, high=90.0),
    Feature("income", "numeric", "customer.income"),
    Feature("tier", "category", "customer.tier", values=("gold", "silver")),
    Feature("city", "category", "customer.city", buckets=5),
    Feature("hour", "time_of_day", harmonics=2),
)
POLICIES: dict[str, tuple[PolicySpec, ...]] = {
    name: (
        PolicySpec(name, 1, name),
        PolicySpec(name, 1, name, {}, FEATURES),
        PolicySpec(name, 1, name, {}, (*FEATURES, Feature("propensity", "propensity"))),
    )
    for name in ("linear_thompson", "lin_ucb", "logistic_thompson", "squarecb")
} | {
    "calibrated": (PolicySpec("c", 1, "calibrated"), PolicySpec("c", 1, "calibrated", {}, FEATURES)),
    "apprentice": (PolicySpec("a", 1, "apprentice"), PolicySpec("a", 1, "apprentice", {}, FEATURES)),
    "shared": (
        PolicySpec("s", 1, "logistic_thompson", {"share": "none", "half_life_days": 0.37}, FEATURES),
        PolicySpec("s", 1, "logistic_thompson", {"share": "all"}, FEATURES),
        PolicySpec("s", 1, "squarecb", {"gamma_exponent": 0.71}, FEATURES),
    ),
    "grouped": (
        PolicySpec("g", 1, "calibrated", {"group_shrinkage": 2.0}, FEATURES, auto=True),
        PolicySpec("g", 1, "linear_thompson", {"group_shrinkage": 0.3, "share": "all"}),
    ),
    "arms": tuple(PolicySpec("b", 1, name) for name in ("thompson", "ucb", "epsilon_greedy")),
}
"""The additive policies that learn, by name; each with and without features."""


def fingerprint(name: str) -> str:
    """Return a digest of states, prepared arrays, propensities and distributions of ``POLICIES[name]``."""
    digest = hashlib.sha256()
    for spec in POLICIES[name]:
        for array in _computed(spec):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def fingerprint_answers(spec: PolicySpec) -> str:
    """Return a digest of the propensities and distributions of a policy, whatever it prepares to compute them."""
    digest = hashlib.sha256()
    for array in _computed(spec, inside=False):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _computed(spec: PolicySpec, *, inside: bool = True) -> Iterator[np.ndarray]:
    policy, random = build_policy(spec), np.random.default_rng(7)
    offers = np.arange(1, OFFERS + 1, dtype=np.uint32)
    own = np.zeros((OFFERS, policy.width))
    for _ in range(OBSERVATIONS):
        offer, at_s = int(random.integers(OFFERS)), NOW_S - float(random.uniform(0.0, 5e6))
        base_propensity = float(np.float32(random.uniform(0.01, 0.4)))
        x = policy.encoder.encode(_facts(random), int(at_s * 1000))
        reward, expected = float(random.random() < 0.2), float(random.uniform(0.01, 0.5))
        seen = Observation(offer + 1, reward, base_propensity, x, expected, by_caller=offer % 3 == 0)
        _, delta = arm_contributions(policy, seen, at_s)
        own[offer] += delta
    own *= policy.decay.scale(policy.decay.period(NOW_S), policy.decay.tick(NOW_S))
    if inside:
        yield own
    sums = Sums(offers, own, own.sum(axis=0), by_group=_by_group(own))
    rows = np.array([3, 11])
    later = own * np.where(np.isin(np.arange(OFFERS), rows), 2.0, 1.0)[:, None]
    changed = Sums(offers, later, own[3] + own[5], by_group=_by_group(later))
    for prepared in (policy.prepare(sums), policy.refresh(policy.prepare(sums), changed, rows)):
        if inside:
            yield from _arrays_of(prepared)
        for _ in range(8):
            candidates = Candidates(
                offers,
                np.where(random.random(OFFERS) < 0.2, np.nan, random.uniform(0.01, 0.4, OFFERS)).astype("f4"),
                random.uniform(0.5, 20.0, OFFERS),
                policy.encoder.encode(_facts(random), int(NOW_S * 1000)),
            )
            yield policy.propensities(prepared, candidates)
            yield policy.selector(prepared, candidates)(random.random(OFFERS) < 0.9)


def _by_group(own: FloatArray) -> GroupSums:
    """Sum up three groups; the last offers have none."""
    row = np.where(np.arange(OFFERS) < OFFERS - 2, np.arange(OFFERS) % 3, -1)
    return GroupSums(np.array([own[row == group].sum(axis=0) for group in range(3)]), row)


def _facts(random: np.random.Generator) -> dict[str, Any]:
    return {
        "customer.age": int(random.integers(18, 90)),
        "customer.income": float(random.uniform(0.0, 9e4)),
        "customer.tier": str(random.choice(["gold", "silver", "none"])),
        "customer.city": str(random.integers(100)),
    }


def _arrays_of(value: Any) -> Iterator[np.ndarray]:
    """Yield all arrays inside of a prepared value."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, float):
        yield np.array(value)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _arrays_of(getattr(value, field.name))


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: fingerprint(name) for name in POLICIES}))
