"""Confidence intervals for proportions, their differences, and means.

Of one, and of many at once, in arrays: the same to the last bit, with NaN for what is not known.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054

Floats = NDArray[np.float64]


def wilson_interval(successes: float, trials: float, z: float = Z95) -> tuple[float | None, float, float]:
    """Return an observed proportion and its score interval: ``(rate, low, high)``; without trials ``(None, 0, 1)``.

    Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 22 (1927).
    Its coverage is near nominal for small counts and rates near 0, where the normal interval is not.
    """
    if trials <= 0:
        return None, 0.0, 1.0
    rate = min(max(successes / trials, 0.0), 1.0)
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return rate, max(centre - half, 0.0), min(centre + half, 1.0)


def newcombe_interval(
    successes: float, trials: float, other_successes: float, other_trials: float, z: float = Z95
) -> tuple[float | None, float, float]:
    """Return the difference of two observed proportions and its interval: ``(difference, low, high)``.

    Newcombe, *Interval estimation for the difference between independent proportions: comparison of eleven methods*,
    Statistics in Medicine 17 (1998), method 10: made of the score intervals of both. Without trials of one of them
    ``(None, -1, 1)``.
    """
    rate, low, high = wilson_interval(successes, trials, z)
    other, other_low, other_high = wilson_interval(other_successes, other_trials, z)
    if rate is None or other is None:
        return None, -1.0, 1.0
    difference = rate - other
    down = math.hypot(rate - low, other_high - other)
    up = math.hypot(high - rate, other - other_low)
    return difference, max(difference - down, -1.0), min(difference + up, 1.0)


def known(column: NDArray[Any]) -> list[Any]:
    """Return the values of a column, ``None`` for those that are not known: NaN."""
    if column.dtype != np.float64 or not np.isnan(column).any():
        return cast(list[Any], column.tolist())
    return [None if value != value else value for value in column.tolist()]


def each(function: Callable[..., float], *arguments: Floats) -> Floats:
    """Call a function of ``math`` for each row: numpy's of the same name may differ in the last bit."""
    return np.array(list(map(function, *(argument.tolist() for argument in arguments))), dtype=np.float64)


def wilson_intervals(successes: Floats, trials: Floats, z: float = Z95) -> tuple[Floats, Floats, Floats]:
    """Return what ``wilson_interval`` does, for arrays of shape ``(n,)``: rates, low ends, high ends."""
    with np.errstate(all="ignore"):  # without trials all is NaN at first
        rate = np.clip(successes / trials, 0.0, 1.0)
        centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
        half = z / (1 + z * z / trials)
        half *= np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    none = trials <= 0
    low, high = np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
    return np.where(none, np.nan, rate), np.where(none, 0.0, low), np.where(none, 1.0, high)


def newcombe_intervals(
    successes: Floats, trials: Floats, other_successes: Floats, other_trials: Floats, z: float = Z95
) -> tuple[Floats, Floats, Floats]:
    """Return what ``newcombe_interval`` does, for arrays of shape ``(n,)``: differences, low ends, high ends."""
    rate, low, high = wilson_intervals(successes, trials, z)
    other, other_low, other_high = wilson_intervals(other_successes, other_trials, z)
    difference = rate - other
    down = difference - each(math.hypot, rate - low, other_high - other)
    up = difference + each(math.hypot, high - rate, other - other_low)
    none = np.isnan(difference)
    return (
        difference,
        np.where(none, -1.0, np.maximum(down, -1.0)),
        np.where(none, 1.0, np.minimum(up, 1.0)),
    )


def mean_intervals(
    totals: Floats, squares: Floats, counts: Floats, z: float = Z95
) -> tuple[Floats, Floats, Floats]:
    """Return means and their normal intervals from sums and sums of squares, arrays of shape ``(n,)``.

    The variance is that of a sample, with ``count - 1``. NaN for what is not known: all without anything counted, the
    interval of fewer than two, or where ``squares`` is NaN. It is too narrow while few of ``counts`` are not zero.
    """
    with np.errstate(all="ignore"):
        mean = np.where(counts > 0, totals / counts, np.nan)
        # Rounding may make it negative where all are alike.
        variance = np.maximum(squares - totals * mean, 0.0) / (counts - 1)
        half = np.where(counts > 1, z * np.sqrt(variance / counts), np.nan)
    return mean, mean - half, mean + half
