"""The report on calibration, as it travels."""

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from app.api.catalogue.field_types import TimeZone
from app.api.deployments.schemas import Key
from app.api.exports.schemas import Day
from app.api.reports.offer_schemas import day_in_range, later_than_since, split_list
from app.api.reports.tables import Format
from app.api.schemas import Id, Parameters, shown
from decisioning.reporting.calibration_report import CalibrationDimension


class CalibrationQuery(Parameters):
    """The predictions to report on."""

    by: Annotated[list[CalibrationDimension], BeforeValidator(split_list)] = Field(
        ["offer"], max_length=7, description="what rows are by: `by=policy&by=week`, or `by=policy,week`"
    )
    bins: int = Field(10, ge=1, le=50, description="so many bins at most, of as many offers each")
    since: Annotated[Day | None, AfterValidator(day_in_range)] = Field(
        None, description="the first day, in the time zone; all if left out"
    )
    until: Annotated[Day | None, AfterValidator(day_in_range), AfterValidator(later_than_since)] = Field(
        None, description="the first day that is left out, in the time zone"
    )
    time_zone: TimeZone = Field("UTC", description="of days, weeks (from Monday) and months")
    policy: Key | None = Field(
        None, description="of this policy alone: its name, for all versions, or name@version"
    )
    offer: Id | None = Field(None, description="of this offer alone")
    channel: Id | None = Field(None, description="in placements of this channel alone")
    placement: Id | None = Field(None, description="in this placement alone")
    format: Format = "json"


class Calibration(BaseModel):
    """Predictions against results, of offers whose reward window is closed."""

    observed: int = Field(description="accepted, rejected, and those of which nothing came in time")
    accepted: int
    predicted: float | None = Field(description="the mean of the propensities that the policy gave them")
    rate: float | None = Field(description="accepted / observed")
    low: float = Field(description="lower end of the Wilson 95 % interval of the rate")
    high: float = Field(description="upper end of the Wilson 95 % interval of the rate")
    within: bool | None = Field(description="whether the mean prediction lies in the interval")
    brier: float | None = Field(description="the mean squared error of the predictions")


class CalibrationBin(Calibration):
    """A point of the reliability diagram: offers with predictions from `least` to `largest`."""

    least: float
    largest: float


class CalibrationRow(Calibration):
    """One group. The first fields are there if the report is by them."""

    day: date | None = None
    week: date | None = Field(None, description="its Monday")
    month: date | None = Field(None, description="its first day")
    offer: str | None = None
    channel: str | None = Field(None, description="of the placement, in the catalogue as it is now")
    placement: str | None = None
    policy: str | None = Field(None, description="name@version")


_FIGURES = {
    "observed": 400,
    "accepted": 48,
    "predicted": 0.13,
    "rate": 0.12,
    "low": 0.0917,
    "high": 0.1555,
    "within": True,
    "brier": 0.104,
}


class CalibrationReport(BaseModel):
    """All together, in bins of as many offers each (equal predictions are in one bin), and a row for each group."""

    model_config = shown(
        {
            "by": ["offer"],
            "time_zone": "UTC",
            "since": "2026-03-02",
            "until": None,
            "error": 0.01,
            "total": _FIGURES,
            "bins": [{"least": 0.08, "largest": 0.21} | _FIGURES],
            "rows": [{"offer": "gold"} | _FIGURES],
        }
    )

    by: list[CalibrationDimension]
    time_zone: str
    since: date | None
    until: date | None
    error: float | None = Field(
        description="expected calibration error: the mean distance of predictions and rates of the bins"
    )
    total: Calibration
    bins: list[CalibrationBin]
    rows: list[CalibrationRow]
