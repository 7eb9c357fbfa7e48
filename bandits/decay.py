"""Forward decay: forgetting that keeps sums additive.

Instead of shrinking old sums, new observations weigh more: an observation at time ``t`` has the weight
``2 ** ((t - landmark) / half_life)``, and sums are divided by the weight of the present when they are read
(Cormode, Shkapenyuk, Srivastava and Xu, *Forward Decay*, ICDE 2009). So decayed sums of different buckets,
processes and batches can be added in any order.

Two things keep this exact for ever. Landmarks are moved by *periods* of ``PERIOD_HALF_LIVES`` half-lives fixed in
absolute time: sums of different periods are kept apart, so weights stay between 1 and 256, and a period that began
more than ``PERIODS_KEPT`` periods ago counts as nothing. And every contribution is rounded to a multiple of
``2 ** -20``: sums of such numbers below ``2 ** 33`` are exact in float64, hence independent of the order of
addition, bit for bit.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.errors import PolicyParameterError

PERIOD_HALF_LIVES = 8
PERIODS_KEPT = 4
TICKS_PER_HALF_LIFE = 32
QUANTUM = 2.0**-20


@dataclass(frozen=True, slots=True)
class ForwardDecay:
    """Weights for a half-life in seconds; ``None`` never forgets.

    Raises
    ------
    PolicyParameterError
        If the half-life is not positive and finite.
    """

    half_life_s: float | None

    def __post_init__(self) -> None:
        if self.half_life_s is not None and not (0 < self.half_life_s < math.inf):
            raise PolicyParameterError(
                f"half_life_s must be positive, not {self.half_life_s}; null never forgets"
            )

    def period(self, t_s: float) -> int:
        """Return the number of the landmark period that the time ``t_s`` (Unix seconds) belongs to."""
        if self.half_life_s is None:
            return 0
        return math.floor(t_s / (PERIOD_HALF_LIVES * self.half_life_s))

    def tick(self, now_s: float) -> int:
        """Return the time step at which states are normalised: 32 a half-life, so that reading is reproducible."""
        if self.half_life_s is None:
            return 0
        return math.floor(now_s / self.half_life_s * TICKS_PER_HALF_LIFE)

    def weight(self, t_s: float) -> float:
        """Return the weight of an observation at ``t_s`` (not before 1970), relative to its period's landmark: in [1,
        256).
        """
        if self.half_life_s is None:
            return 1.0
        half_lives = t_s / self.half_life_s  # rounded as in `period`: the difference below is exact
        return float(2.0 ** (half_lives - self.period(t_s) * PERIOD_HALF_LIVES))

    def scale(self, period: int, tick: int) -> float:
        """Return the factor of a sum of ``period`` when it is read at ``tick``; 0 once it is forgotten.

        A period that has not begun (a clock elsewhere is ahead) is read as if it began now: a time that
        is wrong must not make one observation outweigh all others.
        """
        if self.half_life_s is None:
            return 1.0
        half_lives = tick / TICKS_PER_HALF_LIFE - period * PERIOD_HALF_LIVES
        if half_lives > PERIOD_HALF_LIVES * PERIODS_KEPT:  # at most 2 ** -24 of it would be left
            return 0.0
        return float(2.0 ** -max(half_lives, 0.0))


def quantise(contribution: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to multiples of ``QUANTUM``, so that sums are exact and free of order. Zero is never negative."""
    rounded = contribution / QUANTUM
    np.rint(rounded, out=rounded)
    rounded *= QUANTUM
    rounded += 0.0  # -0.0 + 0.0 is 0.0: two zeros would be stored as different bytes
    return rounded
