"""The report on offers, as it travels."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo

from app.api.catalogue.field_types import TimeZone
from app.api.exports.schemas import Day
from app.api.schemas import Id, Parameters, shown
from decisioning.reporting.offer_report import DIMENSIONS, Dimension

MAX_DIMENSIONS = len(DIMENSIONS)
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)


def later_than_since(value: date | None, info: ValidationInfo) -> date | None:
    """Return ``until`` itself. Raises ``ValueError`` unless it lies after ``since``."""
    since = info.data.get("since")
    if value is not None and since is not None and value <= since:
        raise ValueError("must lie after since")
    return value


def day_in_range(value: date | None) -> date | None:
    """Return a day itself. Raises ``ValueError`` if its midnight may be no time in UTC."""
    # Midnight of a time zone must be a time that there is in UTC.
    if value is not None and not FIRST_DAY <= value <= LAST_DAY:
        raise ValueError("lies outside of the years 1970 to 9998")
    return value


def split_list(value: object) -> object:
    """Take ``by=day,offer`` as well as ``by=day&by=offer``."""
    if isinstance(value, list):
        return [part for item in value for part in (item.split(",") if isinstance(item, str) else [item])]
    return value


class OfferReportQuery(Parameters):
    """The dimensions, time and format of a report."""

    by: Annotated[list[Dimension], BeforeValidator(split_list)] = Field(
        ["offer"],
        max_length=MAX_DIMENSIONS,
        description="what to group by, in this order: `by=week&by=offer`, or `by=week,offer`",
    )
    since: Annotated[Day | None, AfterValidator(day_in_range)] = Field(
        None, description="the first day, in the time zone; all if left out"
    )
    until: Annotated[Day | None, AfterValidator(day_in_range), AfterValidator(later_than_since)] = Field(
        None, description="the first day that is left out, in the time zone"
    )
    time_zone: TimeZone = Field("UTC", description="of days, weeks (from Monday) and months")
    offer: Id | None = Field(None, description="of this offer alone")
    placement: Id | None = Field(None, description="in this placement alone")
    against: Id = Field("control", description="the control group that lift is against")
    format: Literal["json", "csv", "parquet"] = "json"


class OfferReportRow(BaseModel):
    """The results of offers whose reward windows have closed. The first fields are there if it is grouped by them."""

    day: date | None = None
    week: date | None = Field(None, description="its Monday")
    month: date | None = Field(None, description="its first day")
    offer: str | None = None
    group: str | None = Field(
        None, description="of the offer, in the catalogue as it is now; null if it is gone"
    )
    goal: str | None = Field(None, description="of the offer's group, in the catalogue as it is now")
    channel: str | None = Field(None, description="of the placement, in the catalogue as it is now")
    placement: str | None = None
    segment: str | None = Field(
        None, description="when it was decided; who was in several counts in each, null: who was in none"
    )
    treatment: str | None = None
    policy: str | None = Field(None, description="name@version")
    control_group: str | None = Field(
        None, description="champion, canary, caller, imported, or a control group"
    )
    decided: int = Field(description="offers whose reward window is closed")
    open: int = Field(description="offers whose reward window is still open: nothing else counts them")
    presented: int = Field(description="of which somebody said that they were presented")
    clicked: int
    accepted: int
    rejected: int
    ignored: int = Field(description="nothing came in time, which counts as a no")
    unobserved: int = Field(description="nothing came in time, and nobody confirmed that it was presented")
    value: float = Field(description="what the acceptances brought")
    observed: int = Field(description="accepted + rejected + ignored")
    rate: float | None = Field(description="accepted / observed; null while nothing is closed and observed")
    low: float = Field(description="lower end of the Wilson 95 % interval")
    high: float = Field(description="upper end of the Wilson 95 % interval")
    control_observed: int = Field(
        description="offers observed in the control group that is alike in all else"
    )
    control_accepted: int
    lift: float | None = Field(description="the rate as a share of the control's, less 1; null if not known")
    lift_low: float | None = Field(description="lower end of its 95 % interval")
    lift_high: float | None
    difference: float | None = Field(description="the rate less the control's")
    difference_low: float | None = Field(description="lower end of Newcombe's 95 % interval")
    difference_high: float | None
    value_mean: float | None = Field(
        description="value / observed; null while nothing is closed and observed"
    )
    value_low: float | None = Field(
        description="lower end of the normal 95 % interval of the mean; null with fewer than two observed, and where "
        "squares of values are not known of all closed offers"
    )
    value_high: float | None


class OfferReport(BaseModel):
    """A row for each group in which something was decided."""

    model_config = shown(
        {
            "by": ["week", "offer"],
            "time_zone": "Europe/Madrid",
            "since": "2026-03-02",
            "until": None,
            "against": "control",
            "open": 10,
            "rows": [
                {
                    "week": "2026-03-02",
                    "offer": "gold",
                    "decided": 90,
                    "open": 10,
                    "presented": 80,
                    "clicked": 20,
                    "accepted": 9,
                    "rejected": 6,
                    "ignored": 75,
                    "unobserved": 0,
                    "value": 360.0,
                    "observed": 90,
                    "rate": 0.1,
                    "low": 0.0535,
                    "high": 0.1792,
                    "control_observed": 10,
                    "control_accepted": 0,
                    "lift": None,
                    "lift_low": None,
                    "lift_high": None,
                    "difference": 0.1125,
                    "difference_low": -0.1688,
                    "difference_high": 0.1998,
                    "value_mean": 4.0,
                    "value_low": 1.5069,
                    "value_high": 6.4931,
                }
            ],
        }
    )

    by: list[Dimension]
    time_zone: str
    since: date | None
    until: date | None
    against: str
    open: int = Field(
        description="offers of these rows whose reward window is still open (in several segments: twice)"
    )
    rows: list[OfferReportRow]
