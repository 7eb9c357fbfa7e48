"""The report on a hold-out, as it travels."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from app.api.catalogue.field_types import TimeZone
from app.api.exports.schemas import Day
from app.api.reports.offer_schemas import day_in_range, later_than_since, split_list
from app.api.schemas import Parameters, shown, storable
from decisioning.holdouts.holdout import MAX_EVENTS, HoldoutEvent
from decisioning.model.entities import Goal
from decisioning.reporting.holdout_report import HOLDOUT_DIMENSIONS, OF_OFFERS, HoldoutDimension


def _event(value: str) -> str:
    if not value.partition(":")[0] or value.endswith(":"):
        raise ValueError("is a type of events, such as churn, or with a number in them, such as order:amount")
    return storable(value)


def _of_both_sides(value: object) -> object:
    dimensions = ", ".join(HOLDOUT_DIMENSIONS)
    if isinstance(value, str) and "," in value:
        raise ValueError(f"is one of {dimensions}: ask once for each")
    if value in OF_OFFERS:
        raise ValueError(
            f"{value} is of offers, and customers who are held out have none to be counted under: for the worth of a"
            " goal, declare a hold-out of that goal alone (its field goal) and read its report; for what customers do"
            f" about one product, count events with event=; customers can be divided by {dimensions}"
        )
    if value == "policy":
        raise ValueError(
            "a policy decides nothing for customers who are held out: by=control_group tells apart the groups that"
            " policies decide for"
        )
    return value


class HoldoutReportQuery(Parameters):
    """The time of a report, the events that it compares, and what it is divided by."""

    by: Annotated[HoldoutDimension | None, BeforeValidator(_of_both_sides)] = Field(
        None,
        description="divides the customers by their first decision or firing in the span: its day, week or month, its"
        " channel or placement, the segments that they were in, or their group; not divided if left out",
    )

    since: Annotated[Day | None, AfterValidator(day_in_range)] = Field(
        None, description="the first day, in the time zone; since the last change of the hold-out if left out"
    )
    until: Annotated[Day | None, AfterValidator(day_in_range), AfterValidator(later_than_since)] = Field(
        None, description="the first day that is left out, in the time zone"
    )
    time_zone: TimeZone = Field("UTC", description="of days, weeks (from Monday) and months")
    event: Annotated[list[Annotated[str, AfterValidator(_event)]] | None, BeforeValidator(split_list)] = (
        Field(
            None,
            max_length=MAX_EVENTS,
            description="a type of events, to be counted, or `type:property`, to be summed up, such as"
            " `event=churn,order:amount`; those of the hold-out if left out",
        )
    )
    format: Literal["json", "csv", "parquet"] = "json"

    def events(self) -> list[HoldoutEvent] | None:
        """Return what of events is compared; ``None`` if that is not said."""
        if self.event is None:
            return None
        parts = [one.partition(":") for one in dict.fromkeys(self.event)]
        return [HoldoutEvent(event, name or None) for event, _, name in parts]


class HoldoutMeasure(BaseModel):
    """One figure, summed up for each customer, by side. Ends of 95 % intervals are null where nothing is known."""

    measure: str = Field(description="acceptances, value, a type of events, or `type:property`")
    treated_total: float
    treated_mean: float | None = Field(description="for each customer who counts and was not held out")
    held_out_total: float
    held_out_mean: float | None = Field(description="for each customer who counts and was held out")
    difference: float | None = Field(description="of the means, treated less held out")
    difference_low: float | None = Field(description="lower end of Welch's 95 % interval")
    difference_high: float | None
    incremental: float | None = Field(
        description="the difference, for all treated customers: what would be missing"
    )
    incremental_low: float | None
    incremental_high: float | None
    ratio: float | None = Field(description="of the means; null unless both are positive")
    ratio_low: float | None = Field(description="lower end of its 95 % interval, by the delta method")
    ratio_high: float | None


class HoldoutWarning(BaseModel):
    """A reason why the report is less than it looks."""

    code: str = Field(description="`changed`, `few`, `sample_ratio` or `open`")
    message: str


class HoldoutPart(BaseModel):
    """A part of the customers, of both sides. The first fields are there if the report is divided by them."""

    day: date | None = Field(None, description="of their first decision in the span, in the time zone")
    week: date | None = Field(None, description="its Monday")
    month: date | None = Field(None, description="its first day")
    channel: str | None = Field(None, description="of that decision; null: the log does not tell")
    placement: str | None = Field(
        None, description="of that decision; of several at once the first by its id"
    )
    segment: str | None = Field(
        None, description="at that decision; who was in several counts in each, null: who was in none"
    )
    control_group: str | None = Field(
        None, description="of that decision: champion, canary, caller, or a control group"
    )
    treated: int = Field(description="customers of this part who were not held out")
    held_out: int
    sample_ratio_p: float | None = Field(description="p-value of these numbers under the share")
    open: int = Field(description="offers of these customers whose reward window is still open")
    measures: list[HoldoutMeasure]
    warnings: list[HoldoutWarning] = Field(description="of this part: `few`, `sample_ratio` or `open`")


class HoldoutReport(BaseModel):
    """The customers who were held out, beside all others who asked, or for whom a trigger fired."""

    model_config = shown(
        {
            "holdout": "no-contact",
            "name": "Universal control group",
            "goal": None,
            "share": 0.05,
            "counted_from": "2026-03-02T09:00:00.000Z",
            "counted_to": "2026-06-01T00:00:00.000Z",
            "treated": 9500,
            "held_out": 500,
            "sample_ratio_p": 1.0,
            "open": 120,
            "excluded": [],
            "measures": [
                {
                    "measure": "churn",
                    "treated_total": 190.0,
                    "treated_mean": 0.02,
                    "held_out_total": 20.0,
                    "held_out_mean": 0.04,
                    "difference": -0.02,
                    "difference_low": -0.0375,
                    "difference_high": -0.0025,
                    "incremental": -190.0,
                    "incremental_low": -356.0,
                    "incremental_high": -24.0,
                    "ratio": 0.5,
                    "ratio_low": 0.318,
                    "ratio_high": 0.786,
                }
            ],
            "warnings": [],
        }
    )

    holdout: str
    name: str
    goal: Goal | None = Field(description="the goal whose offers are withheld; null: all")
    share: float
    counted_from: str = Field(description="customers count from their first decision after this time")
    counted_to: str
    treated: int = Field(
        description="customers who asked, or for whom a trigger fired, and who were not held out"
    )
    held_out: int = Field(
        description="customers who asked, or for whom a trigger fired, and who were held out"
    )
    sample_ratio_p: float | None = Field(
        description="p-value of these numbers under the share; null while they are small"
    )
    open: int = Field(description="offers whose reward window is still open: nothing else counts them")
    excluded: list[str] = Field(
        description="other hold-outs of the same, or of all offers, whose customers are on neither side"
    )
    measures: list[HoldoutMeasure]
    warnings: list[HoldoutWarning]
    by: HoldoutDimension | None = Field(None, description="what the rows divide the customers by, if asked")
    rows: list[HoldoutPart] | None = Field(None, description="a part of the customers each, if asked")
