"""The batched benchmark computes what the product does, but for the last bits."""

import numpy as np
import pytest

from bandits.policy import Candidates, Observation
from bandits.regression.design import sigmoid
from bandits.state import ArmTable, arm_contributions
from benchmarks.learning import batched, worlds
from benchmarks.learning.measure import first


def test_the_batched_benchmark_expects_what_the_product_does() -> None:
    """Both fold the same outcomes, and expect the same of the next customer."""
    rounds = first(worlds.stale(0, offers=3), 40)
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
    sums = table.read(policy, numbers, policy.decay.tick(1e9))
    a, b = (found[None] for found in policy.regression.layout.read(sums.own))
    shared_a, _ = policy.regression.layout.read(sums.shared)
    model.rescale(0, policy.design.unscaling(policy.design.scale(shared_a)))
    model.fit(np.zeros(3, dtype=np.intp), np.arange(3), a)
    model.centre(a.sum(axis=1), b.sum(axis=1), b)
    x = policy.encoder.encode(rounds.facts[39], 0)
    known = rounds.base_propensity[39]
    z = np.array([[policy.design.row(x, float(q)) for q in known]])
    expected = policy.propensities(policy.prepare(sums), Candidates(numbers, known, np.ones(3), x))
    np.testing.assert_allclose(sigmoid(model.predict(z)[0][0]), expected, atol=1e-3)


@pytest.mark.parametrize("variant", batched.VARIANTS)
def test_every_variant_of_the_batched_benchmark_earns_something(variant: str) -> None:
    made = [first(worlds.untold(seed, offers=4), 60) for seed in range(2)]
    earned = batched.play(batched.Games(made, range(2), variant))
    assert earned.shape == (2,)
    assert ((earned > 0.0) & (earned < 1.0)).all()
