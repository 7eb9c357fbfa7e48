"""The bid price of a unit of capacity: what the last ones that are left are expected to bring.

An offer is worth its value times its propensity, or its value alone where only acceptances use up units: then a
customer who does not accept costs nothing. The price is the worth at which the demand of the time that is left, from
there upwards, equals what is left (Talluri and van Ryzin 2004, *The Theory and Practice of Revenue Management*,
chapter 2). What is worth less is withheld: whoever comes later is expected to be worth more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from decisioning.capacity.leasing import Period


@dataclass(frozen=True, slots=True)
class Demand:
    """An offer that asked for a unit at a time (Unix ms): its ``worth``, and the ``units`` that it is expected to use.

    ``given``: it was in the answer; otherwise it was withheld. ``earned``: its value, if it was accepted.
    """

    at_ms: int
    worth: float
    units: float
    given: bool
    earned: float = 0.0

    @classmethod
    def of(
        cls, at_ms: int, propensity: float, value: float, *, by_acceptance: bool, given: bool, accepted: bool
    ) -> "Demand":
        """Make it of what a decision logged."""
        worth, units = (value, propensity) if by_acceptance else (value * propensity, 1.0)
        return cls(at_ms, worth, units, given, value if accepted else 0.0)


@dataclass(frozen=True, slots=True)
class Earned:
    """The gain of keeping units for value in a period, against giving them to whoever comes first.

    Values are expected ones, but for ``accepted``. ``units``: what the given ones were expected to use.
    """

    given: int
    withheld: int
    units: float
    value: float
    first_come_value: float
    accepted: float


def bid_price(demand: Sequence[Demand], left: float, now_ms: int, period: Period) -> float:
    """Return the price of a unit at a time: 0 as long as there is enough for all that is expected.

    What came between the first of ``demand`` and now is expected to go on, in proportion, until the period ends. Of
    offers that are worth as much as the price none is withheld.
    """
    if not demand or left <= 0:
        return 0.0
    seen_ms = max(now_ms - min(one.at_ms for one in demand), 1)
    factor = max(period.ends_ms - now_ms, 0) / seen_ms
    expected = 0.0
    for one in sorted(demand, key=lambda one: -one.worth):
        expected += factor * one.units
        if expected > left:
            return max(one.worth, 0.0)
    return 0.0


def what_was_earned(demand: Sequence[Demand], maximum: float) -> Earned:
    """Compare what was given in a period with what the first to come would have been given."""
    given = [one for one in demand if one.given]
    taken = first_come = 0.0
    for one in sorted(demand, key=lambda one: one.at_ms):
        units = min(one.units, maximum - taken)
        if units <= 0:
            break
        taken += units
        first_come += one.worth * units
    return Earned(
        given=len(given),
        withheld=len(demand) - len(given),
        units=sum(one.units for one in given),
        value=sum(one.worth * one.units for one in given),
        first_come_value=first_come,
        accepted=sum(one.earned for one in given),
    )
