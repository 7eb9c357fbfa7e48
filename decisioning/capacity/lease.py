"""A process's lease of one pool, and the units that it reserves for a decision."""

import asyncio
from dataclasses import dataclass

from decisioning.capacity.leasing import Period
from decisioning.model.decision import CapacityUnit
from decisioning.model.entities import Capacity


@dataclass(slots=True, eq=False)
class Lease:
    """The book-keeping of one lease. Times ending in ``_s`` are of the monotonic clock.

    ``free``: units to take; ``used``: units taken under this ``holder``'s name, of which ``open`` are those whose write
    has not been answered yet. ``want`` and ``spent``: units to ask for next, and taken since the last grant.
    ``ends_ms`` is 0 until the pool has granted something.
    """

    capacity: Capacity
    period: Period
    holder: str
    spent_s: float
    free: int = 0
    used: int = 0
    open: int = 0
    ends_ms: int = 0
    good_until_s: float = 0.0
    empty_until_s: float = 0.0
    asked_s: float = 0.0
    granted_s: float = 0.0
    want: int = 1
    spent: int = 0
    waiting: int = 0
    price: float = 0.0
    task: "asyncio.Task[None] | None" = None

    def covers(self, capacity: Capacity | None, at_ms: int) -> bool:
        """Return whether the lease is of this version of a capacity, and of the period at a time (Unix ms)."""
        return self.capacity == capacity and self.period.holds(at_ms)

    def has_units(self, now_s: float) -> bool:
        """Return whether a unit can be taken now."""
        return self.count_units(now_s) > 0

    def count_units(self, now_s: float) -> int:
        """Return the number of units that can be taken now."""
        return self.free if now_s < self.good_until_s else 0

    def is_low(self, now_s: float) -> bool:
        """Return whether it is time to ask for more units, in the background."""
        return 2 * self.free < self.want and self.task is None and now_s >= self.empty_until_s

    def book(self, now_s: float) -> None:
        """Count a unit that was taken from ``free`` as used by a write that is about to be sent."""
        # Counted before the write is sent, so that what is logged never exceeds what is reported or counted.
        self.open += 1
        self.used += 1
        self.spent += 1
        self.spent_s = now_s

    def unbook(self) -> None:
        """Put a unit back whose write is known not to have happened."""
        self.used -= 1
        self.free += 1

    def void(self) -> None:
        """Let nothing be taken from this lease any more."""
        self.free, self.good_until_s = 0, 0.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units taken for the offers of one decision; or, if ``lacking`` is a row, none, because there was none for it.

    ``before_ms``: the time by which they must be used, by the server's clock; ``None`` if there are none.
    """

    units: tuple[tuple[Lease, str], ...] = ()
    lacking: int | None = None
    before_ms: int | None = None

    @property
    def logged(self) -> tuple[CapacityUnit, ...] | None:
        """The units as the record of the decision names them; ``None`` if there are none."""
        return (
            tuple(
                CapacityUnit(lease.capacity.capacity_id, lease.period.period_id, lease.holder, offer_id)
                for lease, offer_id in self.units
            )
            or None
        )


NO_RESERVATION = Reservation()
