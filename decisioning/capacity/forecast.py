"""The number of units that decisions may hold at once, where a unit is used up only by what comes of them.

A decision *holds* a unit until it is known whether it is used up: by a presentation or an acceptance, as the capacity
says. What was rejected, withdrawn, or waited for longer than ``hold_s``, holds nothing any more. Let ``left`` be the
units of the period that are not used up. Then at most ``count_holds`` decisions hold one, and nothing more is offered:

- ``left`` of them in any case. If all of these are used up, the cap is reached and not exceeded.
- More only if so few are used up that what is expected of all of them, with a margin, is within ``left``. The margin is
  Bernstein's: that a sum of independent events exceeds its mean by it has a probability of at most ``RISK``. The chance
  of each is not taken from a policy, which may be wrong by any factor, but from what came of the capacity's own
  decisions lately: the upper end of Wilson's interval for their share, at the same risk. Without any it is 1.
- Never more than ``left + overbook``.

So, however wrong the forecast, used units are at most ``max + overbook``, apart from those of decisions that were given
up waiting for (after ``hold_s``). Each of these is counted when it comes, and leaves one less for others.

Why a reading of the log that is late does no harm: let a reading say that ``counted`` units are used up, and that
``held`` decisions hold one, and grants go on until decisions and leases hold ``count_holds(max - counted)``. Whatever
is used up later is among the held, or among those granted since, and these together are no more than that.

Decisions of the period before hold units as well, but are not in this period's books. What the pool of that period has
given out, and the reading does not know yet, counts as held.
"""

import math
from dataclasses import dataclass

RISK = 0.001
WILSON_Z = 3.0902
"""The quantile of the normal distribution that is exceeded with a probability of ``RISK``."""
FORECAST_DECISIONS = 2_000
"""So many decisions, the newest of which it is known what came, are what the forecast rests on."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The log at one moment: a capacity that counts what comes of decisions, in one period.

    ``units`` in the records of decisions of the period, of which ``held`` are still held; ``held_before``: held by
    decisions of earlier periods. ``counted``: units used up in the period. ``units_before``: units in the records of
    decisions of the period before.
    """

    units: int
    held: int
    held_before: int
    counted: int
    units_before: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """Of ``tried`` decisions whose time is over, ``used`` have used up a unit in it."""

    used: int = 0
    tried: int = 0

    @property
    def upper(self) -> float:
        """Return the upper end of Wilson's interval (Wilson 1927): 1 if nothing is known."""
        if not self.tried:
            return 1.0
        z2 = WILSON_Z * WILSON_Z
        middle = self.used + z2 / 2
        half = WILSON_Z * math.sqrt(self.used * (self.tried - self.used) / self.tried + z2 / 4)
        if self.used == self.tried:  # exactly, in floating point as well
            return 1.0
        return min((middle + half) / (self.tried + z2), 1.0)


def expected_most(holds: int, share: float) -> float:
    """Return how many of ``holds`` independent decisions are used up at most, but for a probability of ``RISK``.

    Bernstein's inequality: a sum of variance ``v`` exceeds its mean by ``t`` with a probability of at most
    ``exp(-t^2 / (2 v + 2 t / 3))``.
    """
    log_risk = -math.log(RISK)
    variance = holds * share * (1.0 - share)
    margin = log_risk / 3 + math.sqrt(log_risk * log_risk / 9 + 2 * variance * log_risk)
    return min(holds * share + margin, float(holds))


def count_holds(left: int, share: float, overbook: int) -> int:
    """Return how many decisions may hold a unit at once while ``left`` are not used up (none if that is below 0)."""
    if left <= 0:
        return 0
    low, high = left, left + overbook
    while low < high:  # expected_most grows with the holds
        middle = (low + high + 1) // 2
        low, high = (middle, high) if expected_most(middle, share) <= left else (low, middle - 1)
    return low
