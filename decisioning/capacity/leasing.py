"""Capacity: caps on decisions that all processes share. Periods, and the arithmetic of leases.

**How it works.** For each capacity and period (a day, an hour, or all time) there is a *pool* in Redis. A process takes
*leases* of some units from it and spends them without asking. The pool's books are

    settled             units that were used under leases that have ended
    leased(h), used(h)  of each holder h of a lease: units granted to it, and those it has reported as used
    released            units whose decision was withdrawn, or never presented: as counted in the log

and a unit is granted only while ``settled + sum of leased(h) - released < cap``.

**Why the cap is never exceeded.** Let ``logged(h)`` be the decisions in the log that carry a unit of ``h``.

1. An offer with capacity is only delivered in a decision that is in the log, with its unit and holder in the header:
   an answer that could not be logged, or of which that is not known, contains no such offer.
2. ``logged(h) <= leased(h)`` while the lease runs: a process takes a unit away from what it holds before it sends the
   write, and puts it back only if the write said that it did not happen.
3. Nothing is written under a lease that has ended: the server compares its own clock with the end of the lease in the
   step that writes (``nb_decide_within``), however late a stalled process or a slow network delivers it.
4. A lease ends in one of two ways. Its holder returns it, and then knows what was used (if it does not know of a single
   unit, it does not return the lease but lets it run out). Or it runs out, as when the process was killed: then its
   units stay taken until the log has been archived beyond the end of the lease, and ``logged(h)`` has been counted in
   it. Either way exactly ``logged(h)`` units become ``settled``; the others are free again.
5. ``released`` counts entries of the log: units that were given up come back once. (Only if an agent confirms a
   presentation after it had been released is that unit used once more than the cap allows; it is then counted.)
6. A pool comes into being empty only if Postgres says that it is the first of its name (``capacity_pools``).
   Otherwise it was lost: it is opened again when every lease of the lost one has run out and the log has been counted.

So, that apart, the units in delivered answers are at most ``settled + sum of leased(h) - released``, which no grant
takes above the cap. When a cap is lowered, what was used stays used, but nothing more is granted, and processes return
what they hold as soon as they know the new catalogue. What Redis itself loses of the log (power loss without
``appendfsync always``, a flush before the log was archived) is lost here as well.

Where units are used up by what comes of decisions, ``released`` are those that are not held any more, and ``cap`` is
how many may be held (``decisioning.capacity.forecast``).

**Why nearly all of the cap can be reached.** A lease is at most a quarter of a fair share of what is left, and not more
than its process has lately spent in about a second, so leases shrink to single units towards the end. A process that
has not spent for a second returns what it holds.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from decisioning.contact.quiet_hours import zone_of
from decisioning.errors import Invalid
from decisioning.model.entities import FOREVER_MS, Capacity
from storage.clock import DAY_MS, HOUR_MS, to_ms

LEASE_MS = 5_000
"""The length of a lease that is not renewed. The same in all processes."""
GRACE_MS = 1_000
"""The most that clocks of Redis servers may be apart."""
POOL_RETENTION_MS = 2 * DAY_MS
"""The time for which a pool is kept after its period."""
MAX_LEASE_UNITS = 1_000
"""The largest lease."""


@dataclass(frozen=True, slots=True)
class Period:
    """A time for which a cap holds: from ``starts_ms`` (at the latest) to ``ends_ms``, exclusive."""

    period_id: str
    starts_ms: int
    ends_ms: int

    def holds(self, at_ms: int) -> bool:
        """Return whether a time is in the period."""
        return self.starts_ms <= at_ms < self.ends_ms


TOTAL = Period("total", 0, FOREVER_MS)


@dataclass(frozen=True, slots=True)
class Usage:
    """The books of a pool: units ``used``, held by processes (``leased``), and free (``remaining``).

    Where units are used up by what comes of decisions, these hold ``held`` of them, ``remaining`` are not used up,
    and ``open_offers`` more decisions may hold one now. It is ``None`` elsewhere.
    """

    capacity: Capacity
    period: Period
    used: int
    leased: int
    remaining: int
    held: int = 0
    open_offers: int | None = None


def period_at(capacity: Capacity, at_ms: int) -> Period:
    """Find the capacity's period at a time (Unix ms).

    Days are those of the capacity's time zone: 23 or 25 hours long where clocks change. Hours are the clock's hours,
    named with their offset, so that an hour which the clock shows twice is two hours.

    Raises ``Invalid`` if the time zone does not exist.
    """
    if capacity.per == "total":
        return TOTAL
    zone = zone_of(capacity.time_zone)
    if zone is None:
        raise Invalid("time_zone", f"there is no time zone {capacity.time_zone!r}")
    return (_day if capacity.per == "day" else _hour)(zone, at_ms)


def _day(tz: ZoneInfo, at_ms: int) -> Period:
    day = _local(tz, at_ms).date()
    return Period(day.isoformat(), _midnight(tz, day), _midnight(tz, day + timedelta(days=1)))


def _midnight(tz: ZoneInfo, day: date) -> int:
    """Return the time at which a day begins: the first of two midnights, or the change of a clock that skips it."""
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=tz))


def _hour(tz: ZoneInfo, at_ms: int) -> Period:
    name, starts_ms = _named_hour(tz, at_ms)
    ends_ms = starts_ms + HOUR_MS
    if _named_hour(tz, ends_ms - 1)[0] != name:  # the clock changes within the hour: find where, by halving
        low, high = at_ms, ends_ms - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _named_hour(tz, middle)[0] == name else (low, middle)
        ends_ms = high
    return Period(name, starts_ms, ends_ms)


def _named_hour(tz: ZoneInfo, at_ms: int) -> tuple[str, int]:
    local = _local(tz, at_ms)
    into_hour_ms = (local.minute * 60 + local.second) * 1000 + at_ms % 1000
    return f"{local:%Y-%m-%dT%H%z}", at_ms - into_hour_ms


def _local(tz: ZoneInfo, at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(tz)


def grant_units(want: int, remaining: int, holders: int) -> int:
    """Compute how many units a lease gets, as ``nb_lease`` does. At least one while there is one."""
    fair = -(-remaining // (4 * holders))
    return max(min(want, max(fair, 1), remaining), 0)


def next_want(want: int, spent: int, seconds: float) -> int:
    """Compute how many units to ask for next: about what is spent in a second, when ``spent`` went in ``seconds``.

    Grows at most twofold at a time, so that one burst does not lease what others need.
    """
    rate = spent / max(seconds, 0.01)
    return max(1, min(round(rate), 2 * want, MAX_LEASE_UNITS))
