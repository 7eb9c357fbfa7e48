"""Which days of a report are rolled up, and which times are left to be read by hour, or from the log."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from decisioning.reporting.days.store_each_day import DAY, start_of
from decisioning.reporting.offer_report import PERIODS, ReportScope
from decisioning.reporting.store_asked_days import between_days

_EARLIEST, _LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_DONE = text("SELECT day FROM report_days WHERE done AND day >= :first AND day <= :last ORDER BY day")
_LAST_MOMENT = DAY - timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ReportDays:
    """The time of a report: ``days`` (UTC) that are rolled up, and ``ranges`` that are not: ``(from, to before)``."""

    days: Sequence[date]
    ranges: Sequence[tuple[datetime, datetime]]

    def values(self) -> dict[str, Any]:
        """Return the parameters of a statement with ``day = ANY(:days)`` and ``left_over``."""
        bounds = {
            f"{name}{n}": at
            for n, some in enumerate(self.ranges)
            for name, at in zip(("start", "stop"), some, strict=True)
        }
        return {"days": list(self.days)} | bounds

    def left_over(self, column: str) -> str:
        """Write the condition that the time ``column`` is in one of ``ranges``."""
        some = [f"{column} >= :start{n} AND {column} < :stop{n}" for n in range(len(self.ranges))]
        return f"({' OR '.join(some) or 'false'})"


async def find_report_days(connection: AsyncConnection, scope: ReportScope, by: Iterable[str]) -> ReportDays:
    """Find what is rolled up of a report ``by`` dimensions, in a transaction that sees one state of the tables.

    Otherwise the rows of a day that has a mark might be gone, or be another roll-up's, when they are read. A day of UTC
    that lies in two periods of the time zone is read by hour. Raises ``PostgresUnavailable``.
    """
    start = _EARLIEST if scope.since is None else scope.since.astimezone(UTC)
    stop = _LATEST if scope.until is None else scope.until.astimezone(UTC)
    found = await connection.scalars(_DONE, {"first": start.date(), "last": stop.date()})
    whole = [day for day in found if start <= start_of(day) and start_of(day + DAY) <= stop]
    days = whole_days(whole, scope.zone, by)
    return ReportDays(days, between_days(start, stop, days))


def whole_days(days: Sequence[date], zone: str, by: Iterable[str]) -> list[date]:
    """Return those days of UTC that lie in one period of the time zone, of those that a report is ``by``."""
    names = [name for name in PERIODS if name in {*by}]
    info = ZoneInfo(zone)
    return [day for day in days if all(_lies_in_one(name, start_of(day), info) for name in names)]


def _lies_in_one(period: str, start: datetime, zone: ZoneInfo) -> bool:
    first, last = (at.astimezone(zone).date() for at in (start, start + _LAST_MOMENT))
    return _begin_of(period, first) == _begin_of(period, last)


def _begin_of(period: str, day: date) -> date:
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day
