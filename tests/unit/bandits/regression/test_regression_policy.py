"""Guarantees of regression policies: units do not matter, missing values do no harm, the past fades."""

from typing import Any

import numpy as np
import pytest

from bandits.policy import (
    NO_FEATURES,
    Candidates,
    FloatArray,
    Observation,
    Policy,
    PolicySpec,
    Sums,
    quantise,
)
from bandits.registry import build_policy
from bandits.regression.design import sigmoid
from bandits.regression.regression_policy import RegressionPolicy
from bandits.state import ArmTable, fold_observations
from tests.support.bandits_learning_world import NONE, asking, build_with
from tests.support.bandits_plain_regression import Columns

DAY_S = 86_400.0
NOW_S = 20_000 * DAY_S
SLOPES = np.array([[1.0, -1.0], [-0.5, 0.5], [0.0, 1.0]])
OFFERS = [1, 2, 3]


def taught(policy: Policy, x: FloatArray, slopes: FloatArray, ages_days: Any, seed: int = 0) -> ArmTable:
    """Arms that learned from offers shown at random, whose log odds are ``x @ slope - 1``."""
    rng = np.random.default_rng(seed)
    ages_days = np.broadcast_to(ages_days, len(x))
    seen = []
    for row, age in zip(x, ages_days, strict=True):
        offer = int(rng.integers(3))
        chance = float(sigmoid(row @ slopes[offer] - 1.0))
        observation = Observation(offer + 1, float(rng.random() < chance), NONE, encoded(policy, row), chance)
        seen.append((observation, NOW_S - age * DAY_S))
    table = ArmTable(policy.width)
    for field, delta in fold_observations(policy, seen).items():
        table.add(field, delta)
    return table


def encoded(policy: Policy, row: FloatArray) -> FloatArray:
    return row * policy.encoder.units + 1.0 if isinstance(policy.encoder, OtherUnits) else row


class OtherUnits(Columns):
    """The same two columns in other units."""

    def __init__(self, units: float) -> None:
        super().__init__(2, scaled=[(0, None), (1, None)])
        self.units = units


def estimates(policy: Policy, table: ArmTable, row: FloatArray, at_s: float = NOW_S) -> FloatArray:
    offers = np.array(OFFERS, dtype=np.uint32)
    prepared = policy.prepare(table.read(policy, offers, policy.decay.tick(at_s)))
    return policy.propensities(prepared, asking(OFFERS, encoded(policy, row)))


@pytest.mark.parametrize("algorithm", ["linear_thompson", "logistic_thompson", "lin_ucb", "squarecb"])
def test_the_units_of_a_number_hardly_matter(monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    x = np.random.default_rng(1).normal(size=(3000, 2))
    found = []
    for units in (1.0, 0.1, 0.037):
        policy = build_with(monkeypatch, OtherUnits(units), algorithm)
        table = taught(policy, x, SLOPES, 0.0)
        found.append([estimates(policy, table, row) for row in x[:20]])
    assert np.abs(np.array(found[1]) - found[0]).max() < 0.005
    assert np.abs(np.array(found[2]) - found[0]).max() < 0.01


def test_a_missing_number_counts_as_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Columns(2, scaled=[(0, 1)], features=1)
    policy = build_with(monkeypatch, encoder, "logistic_thompson")
    rng = np.random.default_rng(3)
    total = np.zeros(policy.width)
    for _ in range(2000):
        value = rng.normal(2.0, 0.3)
        reward = float(rng.random() < sigmoid(np.array(5.0 * (value - 2.0))))
        x = np.array([value, 0.0])
        total += policy.learn(Observation(1, reward, NONE, x, 0.5))
    prepared = policy.prepare(Sums(np.array([1], dtype=np.uint32), total[None], total))
    missing, mean, high = (
        float(policy.propensities(prepared, asking([1], x))[0]) for x in ([0.0, 1.0], [2.0, 0.0], [2.5, 0.0])
    )
    assert missing == pytest.approx(mean, abs=0.05)
    assert high > mean + 0.2


@pytest.mark.parametrize("algorithm", ["linear_thompson", "logistic_thompson", "lin_ucb", "squarecb"])
def test_what_is_old_is_forgotten(monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    x = np.random.default_rng(5).normal(size=(4000, 2))
    slopes = np.repeat([SLOPES, -SLOPES], 2000, axis=0)
    row = np.array([1.5, -1.5])
    found = {}
    for half_life_days in (0, 10):
        policy = build_with(monkeypatch, Columns(2), algorithm, half_life_days=half_life_days)
        table = taught(policy, x[:2000], slopes[0], 60.0)
        for field, blob in taught(policy, x[2000:], slopes[-1], 1.0, seed=1).fields():
            table.add(field, np.frombuffer(blob, "<f8"))
        found[half_life_days] = estimates(policy, table, row)[0]
    now, then = sigmoid(row @ -SLOPES[0] - 1), sigmoid(row @ SLOPES[0] - 1)
    assert found[10] == pytest.approx(now, abs=0.1)
    assert then - 0.2 > found[0] > now + 0.2


def test_evidence_fades_to_the_prior() -> None:
    policy = build_policy(PolicySpec("fading", 1, "logistic_thompson", {"half_life_days": 1.0}))
    table = taught(policy, np.zeros((500, 0)), np.zeros((3, 0)), 0.0)
    assert estimates(policy, table, np.zeros(0)).min() > 0.15
    later = estimates(policy, table, np.zeros(0), NOW_S + 40 * DAY_S)
    assert later == pytest.approx(np.full(3, 0.05), abs=1e-3)


@pytest.mark.parametrize("share", ["none", "shrink", "all"])
@pytest.mark.parametrize("count", [1, 1000, 10_000_000])
def test_columns_that_never_vary_do_no_harm(share: str, count: int) -> None:
    """Sums are of rounded numbers, and the same rounding a million times over must not look like evidence."""
    policy = build_policy(PolicySpec("p", 1, "calibrated", {"share": share, "half_life_days": 0}))
    taught = [policy.learn(Observation(1, float(k == 0), 0.3, NO_FEATURES, 0.3)) for k in range(3)]
    total = quantise(np.array(taught)).sum(axis=0) * count
    sums = Sums(np.array([1, 2], dtype=np.uint32), np.stack([total, 0.0 * total]), total)
    candidates = Candidates(sums.offers, np.array([0.3, 0.3], dtype=np.float32), np.ones(2))
    assert isinstance(policy, RegressionPolicy)
    mean, deviation = policy.predict(policy.prepare(sums), candidates)
    assert (deviation > 0.0).all()
    assert deviation[0] <= deviation[1]
    if count > 1:
        assert policy.link.propensity(mean)[0] == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize(
    "algorithm", ["linear_thompson", "logistic_thompson", "lin_ucb", "squarecb", "calibrated"]
)
def test_nothing_is_answered_from_memory_that_has_changed(algorithm: str) -> None:
    """A decision predicts once; but not again for arms that have learned since, nor for somebody else."""
    policy = build_policy(PolicySpec("p", 1, algorithm, {"half_life_days": 0}))
    offers = np.array([1, 2], dtype=np.uint32)
    own = np.zeros((2, policy.width))
    ready = policy.prepare(Sums(offers, own.copy(), np.zeros(policy.width)))
    asked = Candidates(offers, np.array([0.3, 0.3], dtype=np.float32), np.ones(2))
    before = policy.propensities(ready, asked).copy()
    own[0] = 50 * quantise(policy.learn(Observation(1, 1.0, 0.3, NO_FEATURES, 0.3)))
    taught = Sums(offers, own, own.sum(axis=0))
    after = policy.propensities(policy.refresh(ready, taught, np.array([0])), asked)
    assert after[0] > before[0] + 0.1
    assert (
        after.tolist()
        == build_policy(PolicySpec("p", 1, algorithm, {"half_life_days": 0}))
        .propensities(policy.prepare(taught), asked)
        .tolist()
    )
    other = Candidates(offers, np.array([0.1, 0.3], dtype=np.float32), np.ones(2))
    again = policy.prepare(taught)
    policy.propensities(again, other)
    assert policy.propensities(again, asked).tolist() == after.tolist()
