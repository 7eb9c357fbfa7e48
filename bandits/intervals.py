"""Confidence intervals for proportions, their differences, and means."""

import math

Z95 = 1.959963984540054


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


def mean_interval(
    total: float, squares: float | None, count: int, z: float = Z95
) -> tuple[float | None, float | None, float | None]:
    """Return a mean and its normal interval from a sum and a sum of squares: ``(mean, low, high)``.

    The variance is that of a sample, with ``count - 1``. ``None`` for what is not known: all without anything counted,
    the interval of fewer than two, or without ``squares``. It is too narrow while few of ``count`` are not zero.
    """
    if count <= 0:
        return None, None, None
    mean = total / count
    if squares is None or count < 2:
        return mean, None, None
    # Rounding may make it negative where all are alike.
    variance = max(squares - total * mean, 0.0) / (count - 1)
    half = z * math.sqrt(variance / count)
    return mean, mean - half, mean + half
