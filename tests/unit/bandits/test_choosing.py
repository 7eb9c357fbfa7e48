"""Distributions over candidates, worked out by hand and by counting."""

import math

import numpy as np
import pytest

from bandits.sampling import best_score, inverse_gaps, normal_draws, win_frequencies

ALL = np.ones(4, dtype=bool)
SOME = np.array([True, False, True, True])


def test_draws_of_an_offer_depend_on_its_number_alone() -> None:
    draws = normal_draws(np.array([9, 4, 7], dtype=np.uint32), 64)
    again = normal_draws(np.array([7, 9], dtype=np.uint32), 64)
    assert (draws[:, 2] == again[:, 0]).all()
    assert (draws[:, 0] == again[:, 1]).all()
    assert (draws[:, 0] != draws[:, 1]).any()


def test_draws_are_standard_normal_and_independent_of_each_other() -> None:
    draws = normal_draws(np.arange(1, 401, dtype=np.uint32), 128).astype(np.float64)
    assert abs(draws.mean(axis=0)).max() < 1e-6
    assert draws.std(axis=0) == pytest.approx(np.ones(400), abs=1e-6)
    middle = np.abs(draws) < 0.6744897501960817  # the quartiles
    assert (middle.sum(axis=0) == 64).all()
    correlations = (draws.T @ draws / 128)[np.triu_indices(400, 1)]
    assert abs(correlations.mean()) < 4 / math.sqrt(128 * len(correlations))
    assert correlations.std() == pytest.approx(1 / math.sqrt(127), rel=0.02)


def test_wins_are_counted_over_what_is_available() -> None:
    scores = np.array(
        [[0.1, 0.9, 0.3, 0.2], [0.5, 0.9, 0.3, 0.2], [0.1, 0.9, 0.3, 0.2], [0.1, 0.2, 0.3, 0.9]]
    )
    distribution = win_frequencies(scores, np.array([1.0, 1.0, 1.0, 0.5]), 0.08)
    assert distribution(ALL) == pytest.approx([0.02, 0.02 + 0.92 * 0.75, 0.02, 0.02 + 0.92 * 0.25])
    third = 0.08 / 3
    assert distribution(SOME) == pytest.approx([third + 0.92 / 4, 0.0, third + 0.92 / 2, third + 0.92 / 4])


def test_without_weights_all_fare_alike() -> None:
    distribution = win_frequencies(np.ones((8, 4), dtype=np.float32), np.zeros(4), 0.08)
    assert distribution(SOME) == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])


def test_the_best_scores_share() -> None:
    distribution = best_score(np.array([0.3, 0.9, 0.1, 0.3]), 0.04)
    assert distribution(ALL) == pytest.approx([0.01, 0.97, 0.01, 0.01])
    assert distribution(SOME) == pytest.approx([0.04 / 3 + 0.48, 0.0, 0.04 / 3, 0.04 / 3 + 0.48])


def test_inverse_gaps_by_hand() -> None:
    distribution = inverse_gaps(np.array([0.4, 0.2, 0.3, 0.0]), 16.0, 0.0)
    others = [1 / (4 + 16 * 0.5), 1 / (4 + 16 * 0.25), 1 / (4 + 16)]
    assert distribution(ALL) == pytest.approx([1 - sum(others), *others])
    left = [1 / (3 + 16 * 0.25), 1 / (3 + 16)]
    assert distribution(SOME) == pytest.approx([1 - sum(left), 0.0, *left])


def test_inverse_gaps_keep_the_floor_and_share_ties() -> None:
    distribution = inverse_gaps(np.array([0.4, 0.4, 0.2, 0.4]), 1e9, 0.1)
    assert distribution(ALL) == pytest.approx([0.025 + 0.3, 0.025 + 0.3, 0.025, 0.025 + 0.3], abs=1e-8)
    assert inverse_gaps(np.zeros(4), 5.0, 0.1)(ALL) == pytest.approx(np.full(4, 0.25))


def test_inverse_gaps_do_not_depend_on_the_currency() -> None:
    scores = np.array([0.4, 0.2, 0.3, 0.1])
    assert inverse_gaps(scores * 1e6, 7.0, 0.01)(SOME) == pytest.approx(inverse_gaps(scores, 7.0, 0.01)(SOME))
