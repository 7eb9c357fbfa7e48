"""From scores to a distribution, and from a distribution to a choice; worked out by hand and by counting."""

import math

import numpy as np
import pytest

from bandits.policy import BoolArray, FloatArray
from bandits.sampling import (
    best_score,
    draw_slots,
    inverse_gaps,
    normal_draws,
    sample_index,
    uniform_draw,
    win_frequencies,
    with_floor,
)
from tests.support.bandits_selection import chi_squared_score, counts

ALMOST_ONE = math.nextafter(1.0, 0.0)
ALL = np.ones(4, dtype=bool)
SOME = np.array([True, False, True, True])


def test_uniform_is_uniform() -> None:
    drawn = np.array([uniform_draw(f"decision-{i}/5/0") for i in range(50_000)])
    assert ((drawn >= 0.0) & (drawn < 1.0)).all()
    cells = np.bincount((drawn * 100).astype(int), minlength=100)
    assert abs(chi_squared_score(cells, [500.0] * 100)) < 4


def test_uniform_draws_of_neighbouring_seeds_are_unrelated() -> None:
    first = (np.array([uniform_draw(f"d{i}/5/0") for i in range(20_000)]) * 8).astype(int)
    second = (np.array([uniform_draw(f"d{i}/5/1") for i in range(20_000)]) * 8).astype(int)
    assert abs(chi_squared_score(np.bincount(first * 8 + second, minlength=64), [20_000 / 64] * 64)) < 4


def test_uniform_is_the_same_everywhere() -> None:
    """Written down once: a change of these numbers would break the replay of every logged decision."""
    found = [uniform_draw(seed).hex() for seed in ("", "a", "nb07-0/200/0")]
    assert found == ["0x1.c94d40aee8f36p-1", "0x1.03e278e56d990p-2", "0x1.de1bf6b8dac30p-3"]


@pytest.mark.parametrize(
    ("probabilities", "u", "index"),
    [
        ([0.2, 0.3, 0.5], 0.0, 0),
        ([0.2, 0.3, 0.5], math.nextafter(0.2, 0.0), 0),
        ([0.2, 0.3, 0.5], 0.2, 1),
        ([0.2, 0.3, 0.5], 0.5, 2),
        ([0.2, 0.3, 0.5], ALMOST_ONE, 2),
        ([0.0, 0.0, 1.0], 0.0, 2),
        ([0.0, 0.0, 1.0], ALMOST_ONE, 2),
        ([1.0, 0.0, 0.0], 0.0, 0),
        ([1.0, 0.0, 0.0], ALMOST_ONE, 0),
        ([0.5, 0.0, 0.5, 0.0], 0.5, 2),
        ([0.5, 0.0, 0.5, 0.0], ALMOST_ONE, 2),
        ([0.5, 0.0, 0.5, 0.0], 1.0, 2),  # never drawn, yet it must not choose what has no chance
        ([1.0], 0.0, 0),
        ([1.0], ALMOST_ONE, 0),
    ],
)
def test_pick_finds_the_slice_that_holds_u(probabilities: list[float], u: float, index: int) -> None:
    assert sample_index(np.array(probabilities), u) == index


@pytest.mark.parametrize("n", [3, 10, 2500])
def test_pick_survives_sums_that_are_not_quite_one(n: int) -> None:
    probabilities = np.full(n + 2, 1.0 / n)
    probabilities[[0, -1]] = 0.0
    assert sample_index(probabilities, 0.0) == 1
    assert sample_index(probabilities, ALMOST_ONE) == n
    assert sample_index(probabilities * (1 - 1e-9), ALMOST_ONE) == n
    assert sample_index(probabilities * (1 + 1e-9), ALMOST_ONE) == n


def test_pick_chooses_with_the_probabilities() -> None:
    probabilities = np.array([0.0, 0.1, 0.0, 0.25, 0.65, 0.0])
    picked = counts((sample_index(probabilities, (i + 0.5) / 1000) for i in range(1000)), range(6))
    assert list(picked.values()) == [0, 100, 0, 250, 650, 0]


def test_the_floor_is_additive_and_exact() -> None:
    wins, available = np.array([3.0, 1.0, 0.0, 0.0]), np.array([True, True, True, False])
    probabilities = with_floor(wins, available, 0.3)
    np.testing.assert_allclose(probabilities, [0.1 + 0.7 * 0.75, 0.1 + 0.7 * 0.25, 0.1, 0.0], rtol=1e-15)
    assert probabilities[2] == 0.3 / 3
    assert with_floor(wins, available, 1.0).tolist() == [1 / 3, 1 / 3, 1 / 3, 0.0]


def _by_weight(available: BoolArray) -> FloatArray:
    left: FloatArray = np.where(available, np.arange(1.0, 6.0), 0.0)
    return left / float(left.sum())


def test_slots_are_filled_without_replacement_and_with_conditional_probabilities() -> None:
    available = np.array([True, True, False, True, True])
    for i in range(200):
        drawn = draw_slots(_by_weight, available, 10, f"d{i}")
        assert sorted(index for index, _ in drawn) == [0, 1, 3, 4]
        left = available.copy()
        for index, probability in drawn:
            assert probability == _by_weight(left)[index]
            left[index] = False
    assert available.tolist() == [True, True, False, True, True]


def test_the_same_seed_draws_the_same_and_fewer_slots_are_a_prefix() -> None:
    available = np.ones(5, dtype=bool)
    drawn = draw_slots(_by_weight, available, 3, "d")
    assert drawn == draw_slots(_by_weight, available, 3, "d")
    assert drawn[:2] == draw_slots(_by_weight, available, 2, "d")
    assert draw_slots(_by_weight, available, 0, "d") == []
    assert len({draw_slots(_by_weight, available, 3, f"d{i}")[0][0] for i in range(50)}) == 5


def test_nothing_available_gives_nothing() -> None:
    assert draw_slots(_by_weight, np.zeros(5, dtype=bool), 2, "d") == []


def test_drawing_again_without_what_was_withheld_does_not_depend_on_the_first_draw() -> None:
    """The first draw's number lies in the slice of what was withheld: serving again, it would bias the redraw."""
    available = np.ones(5, dtype=bool)
    again: list[int] = []
    for i in range(30_000):
        if draw_slots(_by_weight, available, 1, f"d{i}")[0][0] == 4:
            again.append(draw_slots(_by_weight, np.arange(5) < 4, 1, f"d{i}")[0][0])
    expected = _by_weight(np.arange(5) < 4) * len(again)
    assert abs(chi_squared_score(np.bincount(again, minlength=5), expected)) < 4


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
