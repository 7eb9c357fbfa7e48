"""The days on which triggers on dates fire: from what an attribute holds to moments in time. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from decisioning.contact.quiet_hours import zone_of
from decisioning.model.trigger import TriggerOn
from storage.clock import to_datetime, to_ms

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DueDay:
    """A day on which a trigger fires for a customer, and when (Unix ms)."""

    day: date
    at_ms: int


def zone_for(on: TriggerOn, time_zone: Any) -> ZoneInfo:
    """Return the zone that applies: a customer's own, if it is one, else the trigger's."""
    own = zone_of(time_zone) if isinstance(time_zone, str) else None
    return own or zone_of(on.time_zone) or ZoneInfo("UTC")


def date_of(value: Any, zone: ZoneInfo) -> date | None:
    """Read a date such as ``1992-02-29``; a time with a zone is taken in ``zone``. ``None`` for what is no date."""
    if not isinstance(value, str) or value[4:5] != "-" or value[7:8] != "-":
        return None
    try:
        at = datetime.fromisoformat(value)
        return at.date() if at.tzinfo is None else at.astimezone(zone).date()
    except (ValueError, OverflowError):
        return None


def due_between(on: TriggerOn, value: Any, time_zone: Any, after_ms: int, until_ms: int) -> Iterator[DueDay]:
    """Yield the days on which it fires for what the attribute holds, behind ``after_ms`` up to ``until_ms``."""
    zone = zone_for(on, time_zone)
    held = date_of(value, zone)
    if held is None:
        return
    first, last = (to_datetime(ms).astimezone(zone).date() for ms in (after_ms, until_ms))
    for day in _days(on, held, first, last):
        at_ms = to_ms(datetime.combine(day, time.fromisoformat(on.at), zone))
        if after_ms < at_ms <= until_ms:
            yield DueDay(day, at_ms)


def due_of(on: TriggerOn, value: Any, time_zone: Any) -> DueDay | None:
    """Return the one day on which it fires for what a property holds; ``None`` if that is no date."""
    zone = zone_for(on, time_zone)
    held = date_of(value, zone)
    if held is None:
        return None
    try:
        day = held + on.days * _DAY
        at_ms = to_ms(datetime.combine(day, time.fromisoformat(on.at), zone))
        to_datetime(at_ms)
    except (OverflowError, ValueError):  # beyond the years 1 to 9999, there or in UTC
        return None
    return DueDay(day, at_ms)


def _days(on: TriggerOn, held: date, first: date, last: date) -> Iterator[date]:
    shift = on.days * _DAY
    try:
        if not on.yearly:
            yield held + shift
            return
        for year in range((first - shift).year - 1, (last - shift).year + 2):
            if year >= held.year:
                yield anniversary(held, year, on.leap_day) + shift
    except OverflowError:  # beyond the years 1 to 9999
        return


def anniversary(held: date, year: int, leap_day: str) -> date:
    """Return the day of a year on which a date comes again; ``leap_day``: that of 29 February in other years."""
    try:
        return held.replace(year=year)
    except ValueError:
        month, day = map(int, leap_day.split("-"))
        return date(year, month, day)


def held_between(on: TriggerOn, after_ms: int, until_ms: int) -> list[str]:
    """Return what attributes hold that may be due then: dates, or for yearly ones months and days; times with a ``T``.

    As the function ``nb_dates`` of Postgres writes them. More than those that are due, since zones differ.
    """
    # Clocks are 12 hours behind UTC to 14 hours ahead of it.
    first, last = to_datetime(after_ms) - 12 * _HOUR, to_datetime(until_ms) + 14 * _HOUR
    at = time.fromisoformat(on.at)
    near = (first.date() + n * _DAY for n in range((last.date() - first.date()).days + 1))
    dates = {day - on.days * _DAY for day in near if first < datetime.combine(day, at, UTC) <= last}
    # The date of a time is that of where it was written, which may be another one where the customer is.
    timed = {day + n * _DAY for day in dates for n in range(-2, 3)}
    return sorted({*_texts(on, dates), *(f"{one}T" for one in _texts(on, timed))})


def _texts(on: TriggerOn, days: Collection[date]) -> set[str]:
    if not on.yearly:
        return {day.isoformat() for day in days}
    found = {day.strftime("%m-%d") for day in days}
    return found | {"02-29"} if on.leap_day in found else found


def may_be_due(on: TriggerOn, after_ms: int, until_ms: int) -> bool:
    """Return whether it is the time of the day anywhere behind ``after_ms`` up to ``until_ms``."""
    # Zones are quarters of an hour apart, so between two of these moments it is nobody's time.
    quarter_ms = 900_000
    at = time.fromisoformat(on.at)
    shift_ms = (at.hour * 60 + at.minute) * 60_000
    return (until_ms - shift_ms) // quarter_ms > (after_ms - shift_ms) // quarter_ms
