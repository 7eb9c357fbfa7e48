"""The benchmark of what is forgotten: a flip is found and unlearned, and nothing is done where nothing changes."""

import numpy as np

from benchmarks.learning import worlds
from benchmarks.learning.batched import VARIANTS, Games, play
from benchmarks.learning.forgetting import Adaptive, play_fixed, way_back
from benchmarks.learning.measure import first

ROUNDS, FLIP = 2400, 1600  # no change is seen before a day is known


def test_with_a_long_half_life_it_is_the_batched_benchmark() -> None:
    made = [first(worlds.untold(seed, offers=4), 60) for seed in range(2)]
    for variant in VARIANTS:
        games = Games(made, range(2), variant)
        np.testing.assert_allclose(play_fixed(games, 90.0).mean(axis=1), play(games), atol=1e-12)


def test_a_flip_is_unlearned() -> None:
    made = [worlds.flat_flip(seed, 4, ROUNDS, FLIP) for seed in range(2)]
    adaptive = Adaptive(made, range(2), "declared", 200)
    usual = play_fixed(adaptive.games, 90.0)
    learned = adaptive.play()
    assert adaptive.changes
    assert all(t > FLIP for _, t, _ in adaptive.changes)
    np.testing.assert_array_equal(learned[:, :FLIP], usual[:, :FLIP])
    assert learned.mean() > usual.mean()
    assert way_back(usual, usual, FLIP).shape == (2,)


def test_without_a_change_nothing_is_done() -> None:
    made = [first(worlds.logistic(seed, 4), 800) for seed in range(2)]
    adaptive = Adaptive(made, range(2), "declared", 200)
    np.testing.assert_array_equal(adaptive.play(), play_fixed(adaptive.games, 90.0))
    assert not adaptive.changes
