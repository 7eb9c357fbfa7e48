"""The clock, and times in Unix milliseconds: the one form in which they are computed with, logged and compared.

Modules that are pure may convert times, but are given the time that it is.
"""

import time
from datetime import UTC, datetime, timedelta

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ms() -> int:
    """Read this machine's clock."""
    return time.time_ns() // 1_000_000


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
