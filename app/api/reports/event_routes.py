"""A report on events."""

from datetime import date, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, Field

from app.api.catalogue.field_types import TimeZone
from app.api.deps import Reader, State, problems
from app.api.exports.schemas import Day
from app.api.reports.offer_schemas import day_in_range, later_than_since
from app.api.schemas import Id, Parameters, shown
from decisioning.reporting.offer_report import ReportScope
from decisioning.reporting.store_event_report import count_events

DEFAULT_DAYS = 28

router = APIRouter(prefix="/v1/reports", tags=["reports"])


class EventReportQuery(Parameters):
    """The time of a report, and the type of its events."""

    since: Annotated[Day | None, AfterValidator(day_in_range)] = Field(
        None,
        description=f"the first day, in the time zone; {DEFAULT_DAYS} days before `until`, or today, if left out",
    )
    until: Annotated[Day | None, AfterValidator(day_in_range), AfterValidator(later_than_since)] = Field(
        None, description="the first day that is left out, in the time zone"
    )
    time_zone: TimeZone = Field("UTC", description="of days")
    type: Id | None = Field(None, description="of this type alone")


class EventDay(BaseModel):
    """The events of a type that happened on a day."""

    day: date
    type: str
    events: int


class EventReport(BaseModel):
    """Events by day and type; days and types without any are left out."""

    model_config = shown(
        {
            "time_zone": "Europe/Madrid",
            "since": "2026-03-02",
            "until": None,
            "rows": [{"day": "2026-03-02", "type": "call", "events": 1204}],
        }
    )

    time_zone: str
    since: date
    until: date | None
    rows: list[EventDay]


@router.get("/events", responses=problems())
async def report_events(
    state: State, key: Reader, query: Annotated[EventReportQuery, Query()]
) -> EventReport:
    """Count events by the day on which they happened, and by type. What was told in the last second may be missing."""
    stop = query.until or datetime.now(ZoneInfo(query.time_zone)).date()
    since = query.since or stop - timedelta(days=DEFAULT_DAYS)
    scope = ReportScope.of_days(query.time_zone, since, query.until)
    rows = await count_events(state.engine, scope, query.type)
    return EventReport(
        time_zone=query.time_zone, since=since, until=query.until, rows=[EventDay(**row) for row in rows]
    )
