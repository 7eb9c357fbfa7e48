"""The batched benchmark computes what the product does, but for the last bits."""

from dataclasses import replace

import numpy as np
import pytest

from bandits.algorithms.calibrated import CalibratedPolicy
from bandits.policy import Candidates, Observation, PolicySpec
from bandits.regression.design import sigmoid
from bandits.state import ArmTable, arm_contributions
from bandits.sums import OfferGroups
from benchmarks.learning import batched, worlds
from benchmarks.learning.entrants import chosen_features
from benchmarks.learning.measure import first
from benchmarks.learning.ours import ROUND_S, START_S
from benchmarks.learning.rounds import Rounds
from decisioning.rollout.defaults import DEFAULT_PARAMETERS


@pytest.mark.parametrize("groups", [None, [0, 1, 0]])
def test_the_batched_benchmark_expects_what_the_product_does(groups: list[int] | None) -> None:
    """Both fold the same outcomes, and expect the same of the next customer."""
    rounds = first(worlds.stale(0, offers=3), 40)
    if groups is not None:
        rounds = replace(rounds, groups=np.array(groups))
    assert rounds.base_propensity is not None
    games = batched.Games([rounds], [0], "declared")
    policy, table = games.policies[0], ArmTable(games.policies[0].width)
    model = batched.Model(games, np.arange(games.width), 3)
    numbers = np.arange(1, 4, dtype=np.uint32)
    for t in range(39):
        offer, x = t % 3, policy.encoder.encode(rounds.facts[t], 0)
        seen = Observation(
            offer + 1, rounds.rewards[t, offer], float(rounds.base_propensity[t, offer]), x, 0.2
        )
        fields, delta = arm_contributions(policy, seen, 1e9)
        for field in fields:
            table.add(field, delta)
    told = None if groups is None else OfferGroups.of(dict(enumerate(map(str, groups), start=1)))
    sums = table.read(policy, numbers, policy.decay.tick(1e9), groups=told)
    a, b = (found[None] for found in policy.regression.layout.read(sums.own))
    shared_a, _ = policy.regression.layout.read(sums.shared)
    model.rescale(0, policy.design.unscaling(policy.design.scale(shared_a[0], shared_a.diagonal())))
    model.fit(np.zeros(3, dtype=np.intp), np.arange(3), a)
    of_groups = None
    if sums.by_group is not None:
        group_a, group_b = policy.regression.layout.read(sums.by_group.sums)
        of_groups = group_a[None], group_b[None]
    model.centre(a.sum(axis=1), b.sum(axis=1), b, of_groups)
    x = policy.encoder.encode(rounds.facts[39], 0)
    known = rounds.base_propensity[39]
    z = np.array([[policy.design.row(x, float(q)) for q in known]])
    expected = policy.propensities(policy.prepare(sums), Candidates(numbers, known, np.ones(3), x))
    np.testing.assert_allclose(sigmoid(model.predict(z)[0][0]), expected, atol=1e-3)


def test_the_batched_benchmark_weighs_features_as_the_product_does() -> None:
    """Both compute the same evidence for features of each offer, from the same outcomes."""
    rounds = first(worlds.logistic(3, offers=3, rounds=200), 200)
    games = batched.Games([rounds], [0], "as installed")
    parameters = {**DEFAULT_PARAMETERS, "group_shrinkage": None}
    spec = PolicySpec("weighed", 2, "calibrated", parameters, chosen_features(rounds, 0), auto=True)
    policy = CalibratedPolicy(spec)
    table, learners = ArmTable(policy.width), batched.Learners(games)
    zero = np.zeros(1, dtype=np.intp)
    for t in range(200):
        learners.expect(t)
        offer = t % 3
        x = policy.encoder.encode(rounds.facts[t], 1000 * (START_S + ROUND_S * t))
        estimate = float(sigmoid(np.array([learners._mean[0, offer]]))[0])
        reward = rounds.rewards[t, offer]
        fields, delta = arm_contributions(
            policy, Observation(offer + 1, float(reward), float("nan"), x, estimate), 1e9
        )
        for field in fields:
            table.add(field, delta)
        learners.learn(t, zero + offer, np.array([reward]))
    sums = table.read(policy, np.arange(1, 4, dtype=np.uint32), policy.decay.tick(1e9))
    assert sums.evidence is not None
    weight = policy.decay.weight(1e9) * policy.decay.scale(policy.decay.period(1e9), policy.decay.tick(1e9))
    assert weight == pytest.approx(1.0, abs=0.02)
    assert np.abs(sums.evidence).max() > 1.0
    learners._rescale(0, always=True)
    assert learners._narrow is not None
    assert learners._plain is not None
    for offer in range(3):
        row = zero + offer
        learners._narrow.fit(zero, row, learners.a)
        found = learners._narrow.evidence_alone(zero, row, learners.b)
        found -= learners._plain.evidence_alone(zero, row, learners.b)
        assert sums.evidence[offer] == pytest.approx(found[0], abs=0.15)


@pytest.mark.parametrize("variant", batched.VARIANTS)
def test_every_variant_of_the_batched_benchmark_earns_something(variant: str) -> None:
    made = [first(worlds.untold(seed, offers=4), 60) for seed in range(2)]
    earned = batched.play(batched.Games(made, range(2), variant))
    assert earned.shape == (2,)
    assert ((earned > 0.0) & (earned < 1.0)).all()


def test_groups_are_compared_with_none(capsys: pytest.CaptureFixture[str]) -> None:
    made = [worlds.grouped(seed, 8, 2, 60, level=-1.0) for seed in range(2)]
    batched.compare_groups("some offers", made, range(2), ("declared",))
    title, figures = capsys.readouterr().out.splitlines()
    assert title.startswith("some offers, seeds 0 to 1: random 0.")
    assert "more by group: " in figures


def test_a_stream_whose_groups_tell_nothing_differs_as_much() -> None:
    apart, together = (worlds.grouped(0, 200, 10, 50, told=told) for told in (False, True))
    for made in (apart, together):
        assert made.groups is not None
        assert np.bincount(made.groups).tolist() == [20] * 10

    def between(made: Rounds) -> float:
        """The share of the variance of levels that groups explain."""
        levels = np.log(made.expected).mean(axis=0)
        means = np.array([levels[made.groups == group].mean() for group in range(10)])
        return float(means.var() / levels.var())

    assert between(together) > 0.5 > 0.2 > between(apart)
