"""Reports, as they travel."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.api.reports.tables import Format
from app.api.schemas import Id, Instant, Parameters, after, shown

Dimension = Literal["offer", "policy", "placement", "group", "segment", "hour", "day"]

_COUNTS = {
    "decided": 100,
    "presented": 90,
    "clicked": 20,
    "accepted": 9,
    "rejected": 6,
    "ignored": 75,
    "unobserved": 0,
    "late": 1,
    "value": 360.0,
    "accepted_closed": 9,
    "rejected_closed": 6,
    "observed": 90,
    "open": 10,
    "rate": 0.1,
    "low": 0.0535,
    "high": 0.1792,
}


class AcceptanceQuery(Parameters):
    """The decisions to report on."""

    by: list[Dimension] = Field(["policy"], min_length=1, max_length=7, description="what to group by")
    start: Instant | None = Field(
        None, alias="from", description="decisions of the hours that begin at this time or later"
    )
    end: Annotated[Instant | None, after("start", "from")] = Field(
        None, alias="to", description="decisions of the hours that begin before this time"
    )
    placement: Id | None = None
    policy: Id | None = Field(None, description="the policy's name, in any version")
    format: Format = "json"


COLUMNS_OF: Mapping[Dimension, tuple[str, ...]] = {
    "offer": ("offer_id",),
    "policy": ("policy", "version"),
    "group": ("group", "lift", "difference", "difference_low", "difference_high"),
    **{name: (name,) for name in ("placement", "segment", "hour", "day")},
}
"""The fields of rows that are there if a report is grouped by this."""


class AcceptanceRow(BaseModel):
    """Counts of one group. The first fields are there if the report is grouped by them."""

    offer_id: str | None = None
    policy: str | None = None
    version: int | None = Field(None, description="of the policy")
    placement: str | None = None
    group: str | None = Field(
        None, description="for which group it was decided: champion, canary, a control group, caller"
    )
    segment: str | None = None
    hour: datetime | None = None
    day: datetime | None = None
    decided: int
    presented: int
    clicked: int
    accepted: int = Field(description="so far, those of offers that are still open included")
    rejected: int = Field(description="so far, those of offers that are still open included")
    ignored: int = Field(description="nothing came in time, which counts as a no")
    unobserved: int = Field(description="nothing came in time, and nobody confirmed that it was presented")
    late: int
    value: float = Field(description="the sum of what acceptances brought so far")
    accepted_closed: int = Field(description="acceptances of offers whose reward window is closed")
    rejected_closed: int = Field(description="rejections of offers whose reward window is closed")
    observed: int = Field(
        description="offers whose window is closed: accepted_closed + rejected_closed + ignored"
    )
    open: int = Field(description="offers whose window is still open; no rate counts them")
    rate: float | None = Field(
        description="accepted_closed / observed; null while nothing is closed and observed"
    )
    low: float = Field(description="lower end of the Wilson 95 % interval")
    high: float = Field(description="upper end of the Wilson 95 % interval")
    lift: float | None = Field(
        None, description="by group: the rate as a share of the champion's, less 1; null if that is not known"
    )
    difference: float | None = Field(None, description="by group: the rate less the champion's")
    difference_low: float | None = Field(None, description="lower end of Newcombe's 95 % interval")
    difference_high: float | None = Field(None, description="upper end of Newcombe's 95 % interval")


class AcceptanceReport(BaseModel):
    """One row for each group that had a decision."""

    model_config = shown(
        {"by": ["policy"], "rows": [{"policy": "calibrated", "version": 1} | _COUNTS]},
    )

    by: list[Dimension]
    rows: list[AcceptanceRow]


class OutcomeQuery(Parameters):
    """The decisions whose outcomes are counted."""

    start: Instant | None = Field(None, alias="from", description="decisions of this time or later")
    end: Annotated[Instant | None, after("start", "from")] = Field(
        None, alias="to", description="decisions before this time"
    )
    placement: Id | None = None


class OutcomeRow(BaseModel):
    """One outcome of one offer, with one reason or none: how often it was told, in time and late, and its earnings."""

    offer_id: str
    outcome: str
    reason: str | None
    told: int
    late: int
    earned: float


class OutcomeReport(BaseModel):
    """Outcomes by offer, name and reason: at most 10,000 rows."""

    model_config = shown(
        {
            "outcomes": [
                {
                    "offer_id": "gold",
                    "outcome": "quoted",
                    "reason": None,
                    "told": 40,
                    "late": 2,
                    "earned": 12.0,
                }
            ]
        }
    )

    outcomes: list[OutcomeRow]
