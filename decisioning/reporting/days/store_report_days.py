"""Which days of a report are rolled up, which are added up once more, and which times are left to be read otherwise."""

from collections.abc import Collection, Iterable, Sequence
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
_SPANS = text("SELECT days FROM report_spans WHERE days[1] >= :first AND days[1] <= :last ORDER BY span")
_LAST_MOMENT = DAY - timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ReportDays:
    """The time of a report: ``days`` (UTC) that are rolled up, and ``ranges`` that are not: ``(from, to before)``.

    ``spans``: further days, added up once more; each has the name of its first day.
    """

    days: Sequence[date]
    ranges: Sequence[tuple[datetime, datetime]]
    spans: Sequence[date] = ()

    def values(self) -> dict[str, Any]:
        """Return the parameters of a statement with ``ANY(:days)``, ``ANY(:spans)`` and ``left_over``."""
        bounds = {
            f"{name}{n}": at
            for n, some in enumerate(self.ranges)
            for name, at in zip(("start", "stop"), some, strict=True)
        }
        return {"days": [*self.days], "spans": [*self.spans]} | bounds

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


async def find_report_spans(
    connection: AsyncConnection, days: ReportDays, zone: str, by: Collection[str]
) -> ReportDays:
    """Find those of the ``days`` that are added up once more, in spans that lie in one period each.

    In the transaction in which they were found. Raises ``PostgresUnavailable``.
    """
    if not days.days or "day" in by:
        return days
    whole, periods, info = {*days.days}, _periods(by), ZoneInfo(zone)
    found = await connection.scalars(_SPANS, {"first": days.days[0], "last": days.days[-1]})
    spans = [
        span
        for span in found
        if whole.issuperset(span) and all(_lie_in_one(name, span[0], span[-1], info) for name in periods)
    ]
    return ReportDays(sorted(whole.difference(*spans)), days.ranges, [span[0] for span in spans])


def whole_days(days: Sequence[date], zone: str, by: Iterable[str]) -> list[date]:
    """Return those days of UTC that lie in one period of the time zone, of those that a report is ``by``."""
    periods, info = _periods(by), ZoneInfo(zone)
    return [day for day in days if all(_lie_in_one(name, day, day, info) for name in periods)]


def _periods(by: Iterable[str]) -> list[str]:
    return [name for name in PERIODS if name in {*by}]


def _lie_in_one(period: str, first: date, last: date, zone: ZoneInfo) -> bool:
    begin, end = (at.astimezone(zone).date() for at in (start_of(first), start_of(last) + _LAST_MOMENT))
    return _begin_of(period, begin) == _begin_of(period, end)


def _begin_of(period: str, day: date) -> date:
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day
