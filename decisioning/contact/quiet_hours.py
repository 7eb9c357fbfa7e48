"""Quiet hours by the customer's local time, also on days that have 23 or 25 hours."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from decisioning.errors import Invalid
from decisioning.model.entities import QuietHours
from storage.clock import MINUTE_MS

DAY_MINUTES = 1440
_CLOCK = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class PreparedQuietHours:
    """Quiet hours, ready for use: minutes of the day, from ``start`` to ``end``, maybe over midnight.

    ``start == end`` is the whole day.
    """

    quiet_id: str
    start: int
    end: int
    zone: ZoneInfo

    def holds(self, at_ms: int, zone: ZoneInfo) -> bool:
        """Return whether it is quiet at an instant."""
        return self.covers(_minute(at_ms, zone))

    def covers(self, minute: int) -> bool:
        """Return whether a minute of the day (0..1439) is a quiet one."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def prepare_quiet_hours(hours: QuietHours) -> PreparedQuietHours:
    """Make quiet hours ready for use.

    Raises
    ------
    Invalid
        If a time is not ``HH:MM`` (00:00 to 24:00), or the time zone is not known.
    """
    zone = zone_of(hours.time_zone)
    if zone is None:
        raise Invalid(
            "time_zone", f"there is no time zone {hours.time_zone!r}; use a name such as Europe/Madrid"
        )
    return PreparedQuietHours(hours.quiet_id, _parse("start", hours.start), _parse("end", hours.end), zone)


def customer_zone(quiet: PreparedQuietHours, time_zone: Any) -> ZoneInfo:
    """Return the zone that a customer's attribute names; the policy's own if it names none that is known."""
    zone = zone_of(time_zone) if isinstance(time_zone, str) else None
    return quiet.zone if zone is None else zone


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo | None:
    """Return a time zone by its IANA name; ``None`` if there is no such zone."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: names of folders, names that are too long for a file
        return None


# Callers give whole minutes, so that explanations of the same minute share one answer.
@lru_cache(maxsize=256)
def ends_ms(quiet: PreparedQuietHours, zone: ZoneInfo, minute_ms: int) -> int | None:
    """Return the first instant after a quiet minute (both Unix ms) that is not quiet; ``None`` if none ever is."""
    if (quiet.end - quiet.start) % DAY_MINUTES == 0:
        return None
    left = (quiet.end - _minute(minute_ms, zone)) % DAY_MINUTES
    guess = minute_ms + left * MINUTE_MS
    if _offset(minute_ms, zone) == _offset(guess, zone):
        return guess
    # The clock is changed in between: on these two days of a year each minute is looked at.
    return next(
        at_ms
        for at_ms in range(minute_ms, minute_ms + 2 * DAY_MINUTES * MINUTE_MS, MINUTE_MS)
        if not quiet.holds(at_ms, zone)
    )


def wall_clock(at_ms: int, zone: ZoneInfo) -> str:
    """Format an instant as ``HH:MM`` and the zone, for people."""
    return f"{datetime.fromtimestamp(at_ms / 1000, zone):%H:%M} {zone.key}"


def _minute(at_ms: int, zone: ZoneInfo) -> int:
    local = datetime.fromtimestamp(at_ms // 1000, zone)
    return local.hour * 60 + local.minute


def _offset(at_ms: int, zone: ZoneInfo) -> Any:
    return datetime.fromtimestamp(at_ms // 1000, zone).utcoffset()


def _parse(name: str, clock: str) -> int:
    match = _CLOCK.fullmatch(clock)
    minutes = int(match[1]) * 60 + int(match[2]) if match else DAY_MINUTES + 1
    if minutes > DAY_MINUTES:
        raise Invalid(name, f"{clock!r} is not a time such as 21:30")
    return minutes
