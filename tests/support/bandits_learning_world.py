"""Streams of outcomes for tests of policies with features, and arms that have learned from them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bandits.features import Encoder
from bandits.policy import Candidates, FloatArray, Observation, Policy, PolicySpec, Sums
from bandits.registry import build_policy
from bandits.state import ArmTable, fold_observations
from bandits.sums import OfferGroups
from tests.support.bandits_plain_regression import Columns, Seen

NOW_S = 1_750_000_000.0
NONE = float("nan")


def build_with(
    monkeypatch: pytest.MonkeyPatch, encoder: Encoder, algorithm: str, **parameters: Any
) -> Policy:
    """A policy whose features are the columns of ``encoder``."""
    monkeypatch.setattr("bandits.regression.regression_policy.Encoder", lambda features: encoder)
    return build_policy(PolicySpec(algorithm, 1, algorithm, parameters))


def requests(rng: np.random.Generator, encoder: Columns, count: int) -> FloatArray:
    """Columns of made-up requests: numeric ones around 1 with deviation 0.5, some missing; indicators otherwise."""
    x: FloatArray = (rng.random((count, encoder.width)) < 0.3).astype(np.float64)
    for value, missing in encoder.scaled:
        x[:, value] = rng.normal(1.0, 0.5, count)
        if missing is not None:
            x[:, missing] = rng.random(count) < 0.3
            x[:, value] *= 1.0 - x[:, missing]
    return x


def outcomes(
    encoder: Columns, offers: Sequence[int], count: int, *, seed: int = 0, half_life_s: float | None = None
) -> list[Seen]:
    """Made-up outcomes: rewards 0, 1 and between; propensities and estimates known and not; all ages."""
    rng = np.random.default_rng(seed)
    x = requests(rng, encoder, count)
    ages = rng.random(count) * 3
    made = []
    for i in range(count):
        reward = rng.random() if rng.random() < 0.1 else float(rng.random() < 0.3)
        base_propensity = rng.choice([NONE, 0.0, 1.0]) if rng.random() < 0.3 else rng.uniform(0.01, 0.6)
        estimate = rng.choice([NONE, 0.0, 1.0]) if rng.random() < 0.3 else rng.uniform(0.01, 0.9)
        observation = Observation(
            int(rng.choice(offers)), float(reward), float(np.float32(base_propensity)), x[i], float(estimate)
        )
        made.append(Seen(2.0 ** -ages[i] if half_life_s else 1.0, observation))
    return made


def learned(
    policy: Policy, seen: Sequence[Seen], offers: Sequence[int], groups: OfferGroups | None = None
) -> Sums:
    """The arms after these outcomes, at a time at which nothing is rounded."""
    half_life_s = policy.decay.half_life_s or 1.0
    now_s = round(NOW_S / half_life_s) * half_life_s
    table = ArmTable(policy.width)
    aged = [(each.observation, now_s + half_life_s * float(np.log2(each.age_weight))) for each in seen]
    for field, delta in fold_observations(policy, aged).items():
        table.add(field, delta)
    numbers = np.array(offers, dtype=np.uint32)
    return table.read(policy, numbers, policy.decay.tick(now_s), groups=groups)


def asking(offers: Sequence[int], x: Any, base_propensity: Any = NONE, weight: Any = 1.0) -> Candidates:
    """Candidates of these offers for a request."""
    n = len(offers)
    return Candidates(
        np.array(offers, dtype=np.uint32),
        np.broadcast_to(np.asarray(base_propensity, dtype=np.float32), n).copy(),
        np.broadcast_to(np.asarray(weight, dtype=np.float64), n).copy(),
        np.asarray(x, dtype=np.float64),
    )
