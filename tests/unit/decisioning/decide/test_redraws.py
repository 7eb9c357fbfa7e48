"""Choices that are drawn anew since another process was faster: how far off estimates from the log are."""

import numpy as np
import pytest

from bandits.policy import BoolArray, FloatArray
from bandits.sampling import draw_slots

CHANCES = np.array([0.5, 0.3, 0.2])
LIMITED, RACES = 0, 0.2
DECISIONS = 20_000


def distribution(available: BoolArray) -> FloatArray:
    """The chances of what is available."""
    left: FloatArray = np.where(available, CHANCES, 0.0)
    left /= left.sum()
    return left


def test_an_estimate_is_off_by_no_more_than_the_share_of_redrawn_decisions() -> None:
    """One in five draws of the limited offer meets a process that was faster."""
    races = np.random.default_rng(3).random(DECISIONS) < RACES
    weights, redrawn = np.zeros(3), 0
    for number in range(DECISIONS):
        available = np.ones(3, dtype=bool)
        ((row, probability),) = draw_slots(distribution, available, 1, f"decision-{number}")
        if row == LIMITED and races[number]:
            redrawn += 1
            available[LIMITED] = False
            ((row, probability),) = draw_slots(distribution, available, 1, f"decision-{number}")
        weights[row] += 1.0 / probability / DECISIONS
    share = redrawn / DECISIONS
    noise = 4.0 * np.sqrt((1.0 / CHANCES - 1.0) / DECISIONS)
    assert share == pytest.approx(CHANCES[LIMITED] * RACES, abs=0.009)
    # What is estimated of an offer that is shown to all has its sum of weights, which should be 1, as a factor.
    assert weights[LIMITED] == pytest.approx(1.0 - RACES, abs=noise[LIMITED])
    assert weights[1:] == pytest.approx(1.0 + share, abs=noise[1:].max())
    assert (weights[1:] > 1.0 + share / 4).all()
