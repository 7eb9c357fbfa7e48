"""Many observations that are learned at once add the bits that they add one after the other."""

import numpy as np
import pytest

from bandits.algorithms.thompson import ThompsonPolicy
from bandits.policy import FloatArray, Observation, Policy, PolicySpec
from bandits.registry import build_policy
from bandits.state import ArmTable, arm_contributions, fold_observations
from tests.support.bandits_fingerprint import NOW_S, POLICIES

SPECS = [spec for specs in POLICIES.values() for spec in specs]


def observations(policy: Policy, count: int) -> list[tuple[Observation, float]]:
    rng = np.random.default_rng(11)
    facts = {"customer.age": 44.0, "customer.tier": "gold"}
    found = []
    for _ in range(count):
        x = policy.encoder.encode({**facts, "customer.income": float(rng.normal())}, int(NOW_S * 1000))
        known = rng.choice([float("nan"), 0.0, 1.0, 0.02, 0.7])
        estimate = rng.choice([float("nan"), 1e-9, 0.3, 1.0 - 1e-9, 0.0, 1.0])
        reward = float(rng.choice([0.0, 1.0, 0.37]))
        seen = Observation(int(rng.integers(1, 6)), reward, float(known), x, float(estimate))
        found.append((seen, NOW_S - float(rng.uniform(0.0, 3e7))))
    return found


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.algorithm}-{len(spec.features)}")
def test_folding_together_equals_folding_one_by_one(spec: PolicySpec) -> None:
    policy = build_policy(spec)
    seen = observations(policy, 3000)
    together, one_by_one = ArmTable(policy.width), ArmTable(policy.width)
    for field, delta in fold_observations(policy, seen).items():
        together.add(field, delta)
    for observation, at_s in seen:
        fields, delta = arm_contributions(policy, observation, at_s)
        for field in fields:
            one_by_one.add(field, delta)
    assert list(together.fields()) == list(one_by_one.fields())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.algorithm}-{len(spec.features)}")
def test_each_row_is_what_one_observation_teaches(spec: PolicySpec) -> None:
    policy = build_policy(spec)
    if (learn_all := getattr(policy, "learn_all", None)) is not None:
        seen = [observation for observation, _ in observations(policy, 200)]
        alone = np.array([policy.learn(observation) for observation in seen])
        assert (learn_all(seen) + 0.0).tobytes() == (alone + 0.0).tobytes()


def test_who_learns_otherwise_and_inherits_how_to_learn_many_learns_one_by_one() -> None:
    class Doubting(ThompsonPolicy):
        def learn(self, observation: Observation) -> FloatArray:
            return super().learn(observation) * 0.5

    policy = Doubting(PolicySpec("doubting", 1, "thompson"))
    seen = [(Observation(1, 1.0, 0.2, np.zeros(0)), NOW_S)] * 20
    (field, *_), alone = arm_contributions(policy, *seen[0])
    assert fold_observations(policy, seen)[field].tolist() == (20.0 * alone).tolist()
