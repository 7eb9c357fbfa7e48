"""A paired test of which of several models expects outcomes best, by what each was sure of before it learned them.

Each model has a log loss for each outcome, in the order in which those came, made before that outcome was learned
(prequential: Dawid, *Present position and potential developments*, JRSS A 147, 1984). Differences of losses on the same
outcomes say which model is better *now*, if only the latest are looked at; how many that should be is not known, so
windows of several lengths are tested. Outcomes that follow each other are not independent, so a window is cut into
``BLOCKS`` stretches of equal length, and Student's t is of their means (batch means: Law and Kelton, *Simulation
Modeling and Analysis*). The error of a look is shared among its tests (Bonferroni).

What is other by night than by day is no change: it was so at the same hours of the days before. A model that knows
nothing but the last hours expects them better for all that. So in a window of less than a day a model that begins anew
has to gain more than twice what the present one would have gained at those hours of the last days, had it known
beforehand how often each offer would be accepted in them. Any other model has to be better over a day.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.policy import FloatArray

BLOCKS = 16
MIN_OUTCOMES = 256
"""The shortest window; others are twice as long as the one before."""
ALPHA = 1e-3
"""The chance that a look finds a model better by chance alone."""
DAY_MS = 86_400_000
DAYS_BACK = 7
SWINGS = 2.0
"""As no day is quite like another, and few outcomes tell rates but roughly."""
MIN_SHARE = 0.25
"""The outcomes at the same hours of an earlier day that say something, as a share of those of the window."""


@dataclass(frozen=True, slots=True)
class ExpectedOutcomes:
    """Outcomes in the order of time, and what each of several models expected of them.

    ``times_ms``, ``offers`` and ``rewards``: shape ``(T,)``. ``chances``: shape ``(T, models)``, in (0, 1), NaN before
    a model began.
    """

    times_ms: NDArray[np.int64]
    offers: NDArray[np.int64]
    rewards: FloatArray
    chances: FloatArray

    def losses(self) -> FloatArray:
        """Return the log losses: shape ``(T, models)``."""
        rewards = self.rewards[:, None]
        found: FloatArray = -(rewards * np.log(self.chances) + (1.0 - rewards) * np.log1p(-self.chances))
        return found

    def hindsight(self, model: int, rows: slice) -> float:
        """Return how much lower the mean loss of a model would be, had it known the rate of each offer in ``rows``.

        As the divergence of the rates from what was expected in the mean: less than it would be at most.
        """
        known = ~np.isnan(self.chances[rows, model])
        _, offer = np.unique(self.offers[rows][known], return_inverse=True)
        count = np.bincount(offer)
        rate = np.bincount(offer, self.rewards[rows][known]) / count
        expected = np.bincount(offer, self.chances[rows, model][known]) / count
        from scipy.special import rel_entr  # takes half a second to import, and most processes do without it

        divergence = rel_entr(rate, expected) + rel_entr(1.0 - rate, 1.0 - expected)
        return float((count * divergence).sum() / count.sum())


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


def clearest_gain(
    expected: ExpectedOutcomes, current: int, margins: Mapping[int, float], anew: Collection[int] = ()
) -> ClearGain | None:
    """Find the model that is better than ``current`` by most, surely; ``None`` if there is none.

    ``margins``: the models that are compared with it, and the share of its loss by which each has to be better.
    ``anew``: those of them that began anew of late.
    """
    losses = expected.losses()
    windows = [
        (model, outcomes)
        for model in margins
        for outcomes in _windows(_known(losses[:, current], losses[:, model]))
    ]
    best: ClearGain | None = None
    for model, outcomes in windows:
        before, after = losses[-outcomes:, current], losses[-outcomes:, model]
        mean = float(before.mean())
        asked = margins[model] * mean
        if expected.times_ms[-1] - expected.times_ms[-outcomes] < DAY_MS:
            asked += SWINGS * _usual_swing(expected, current, outcomes) if model in anew else math.inf
        least = _least_mean(before - after, ALPHA / len(windows)) - asked
        if least > 0.0 and (best is None or least > best.least):
            best = ClearGain(model, outcomes, mean, float(after.mean()), least)
    return best


def _usual_swing(expected: ExpectedOutcomes, current: int, outcomes: int) -> float:
    """Return what hindsight would have been worth at the hours of a window, on the second of the last days by that.

    On the first, if no more than two are known; infinite if none is. One day may be that of an earlier change, while
    hours that are other by custom, also those of weekends, are found on two of seven days.
    """
    times, known = expected.times_ms, ~np.isnan(expected.chances[:, current])
    worth = []
    for days in range(1, DAYS_BACK + 1):
        start, end = np.searchsorted(
            times, (times[-outcomes] - days * DAY_MS, times[-1] - days * DAY_MS), side="left"
        ).tolist()
        if known[start:end].sum() >= MIN_SHARE * outcomes:
            worth.append(expected.hindsight(current, slice(start, end)))
    return sorted(worth)[-2 if len(worth) > 2 else -1] if worth else math.inf


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
    from scipy.special import stdtrit

    return float(means.mean()) - float(stdtrit(BLOCKS - 1, 1.0 - alpha)) * error
