"""Intervals for proportions."""

import math

Z95 = 1.959963984540054


def wilson(successes: float, trials: float, z: float = Z95) -> tuple[float | None, float, float]:
    """The observed proportion and its score interval: ``(rate, low, high)``; without trials ``(None, 0, 1)``.

    Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 22 (1927).
    Its coverage is near nominal for small counts and rates near 0, where the normal interval is not.
    """
    if trials <= 0:
        return None, 0.0, 1.0
    rate = min(max(successes / trials, 0.0), 1.0)
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return rate, max(centre - half, 0.0), min(centre + half, 1.0)
