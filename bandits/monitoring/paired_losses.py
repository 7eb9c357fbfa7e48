"""A paired test of which of several models expects outcomes best, by what each was sure of before it learned them.

Each model has a loss for each outcome, in the order in which those came, made before that outcome was learned
(prequential: Dawid, *Present position and potential developments*, JRSS A 147, 1984). Differences of losses on the same
outcomes say which model is better *now*, if only the latest are looked at; how many that should be is not known, so
windows of several lengths are tested. Outcomes that follow each other are not independent, so a window is cut into
``BLOCKS`` stretches of equal length, and Student's t is of their means (batch means: Law and Kelton, *Simulation
Modeling and Analysis*). The error of a look is shared among its tests (Bonferroni).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from bandits.policy import FloatArray

BLOCKS = 16
MIN_OUTCOMES = 256
"""The shortest window; others are twice as long as the one before."""
ALPHA = 1e-3
"""The chance that a look finds a model better by chance alone."""


@dataclass(frozen=True, slots=True)
class ClearGain:
    """A model that is clearly better than the one in use, in the latest ``outcomes``.

    ``loss_before`` and ``loss``: the mean losses there, of the one in use and of the ``model``. ``least``: by how much
    it is better at least, beyond what is asked of it.
    """

    model: int
    outcomes: int
    loss_before: float
    loss: float
    least: float


def clearest_gain(losses: FloatArray, current: int, margins: Mapping[int, float]) -> ClearGain | None:
    """Find the model that is better than ``current`` by most, surely; ``None`` if there is none.

    ``losses``: shape ``(T, models)``, in the order of time, NaN before a model began. ``margins``: the models that are
    compared with it, and the share of its loss by which each has to be better.
    """
    windows = [
        (model, outcomes)
        for model in margins
        for outcomes in _windows(_known(losses[:, current], losses[:, model]))
    ]
    best: ClearGain | None = None
    for model, outcomes in windows:
        before, after = losses[-outcomes:, current], losses[-outcomes:, model]
        mean = float(before.mean())
        least = _least_mean(before - after, ALPHA / len(windows)) - margins[model] * mean
        if least > 0.0 and (best is None or least > best.least):
            best = ClearGain(model, outcomes, mean, float(after.mean()), least)
    return best


def _known(*losses: FloatArray) -> int:
    """Return how many of the latest outcomes all models have a loss for."""
    missing = np.flatnonzero(np.isnan(np.sum(losses, axis=0)))
    return len(losses[0]) - (int(missing[-1]) + 1 if len(missing) else 0)


def _windows(outcomes: int) -> list[int]:
    count = int(math.log2(outcomes / MIN_OUTCOMES)) + 1 if outcomes >= MIN_OUTCOMES else 0
    return [MIN_OUTCOMES * 2**number for number in range(count)]


def _least_mean(values: FloatArray, alpha: float) -> float:
    """Return the lower bound of the mean, at the confidence ``1 - alpha``, one-sided."""
    means = values.reshape(BLOCKS, -1).mean(axis=1)
    error = float(means.std(ddof=1)) / math.sqrt(BLOCKS)
    return float(means.mean()) - float(stdtrit(BLOCKS - 1, 1.0 - alpha)) * error
