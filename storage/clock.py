"""The clock, and times in Unix milliseconds: the one form in which they are computed with, logged and compared.

Modules that are pure may convert times, but are given the time that it is.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SharedClock:
    """The time by the clock of Redis, which all processes share; by this machine's own one until that is known.

    Between two readings it goes on with the machine's ticks, which do not jump when its clock is set.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        ticks_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._ticks_ns = ticks_ns
        self._offset_ns: int | None = None

    def now_ms(self) -> int:
        """Return the time (Unix ms)."""
        if self._offset_ns is None:
            return self._wall_ns() // 1_000_000
        return (self._ticks_ns() + self._offset_ns) // 1_000_000

    def follow(self, server_us: int, asked_ns: int) -> None:
        """Go by a server's clock, which said ``server_us`` (Unix us) when it was asked at ``asked_ns`` (ticks)."""
        now_ns = self._ticks_ns()
        # The server read its clock at some time between question and answer: most likely in the middle.
        doubt_ns = (now_ns - asked_ns) // 2
        offset_ns = server_us * 1000 + doubt_ns - now_ns
        if self._offset_ns is None or abs(offset_ns - self._offset_ns) > doubt_ns:
            self._offset_ns = offset_ns

    def skew_ms(self) -> int:
        """Return how far this machine's clock is ahead of the shared one."""
        return self._wall_ns() // 1_000_000 - self.now_ms()


shared = SharedClock()
"""The clock of this process."""


def now_ms() -> int:
    """Read the clock that all processes share."""
    return shared.now_ms()


def to_datetime(at_ms: int) -> datetime:
    """Convert Unix milliseconds to a time in UTC, exactly."""
    # By whole numbers: a quotient in floating point is off by microseconds for dates that are far away.
    return _EPOCH + timedelta(milliseconds=at_ms)


def to_ms(at: datetime) -> int:
    """Convert a time with a zone to Unix milliseconds, rounded to the nearest."""
    return round(at.timestamp() * 1000)


def floor_ms(at: datetime) -> int:
    """Convert a time with a zone to Unix milliseconds, rounded down: never later than what a caller said."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def to_iso(at_ms: int) -> str:
    """Convert Unix milliseconds to ISO 8601 in UTC, such as ``2026-03-01T09:30:00.000Z``."""
    return to_datetime(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
