"""Usage of capacities, as it travels."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from decisioning.model.entities import Counts


class UsageOut(BaseModel):
    """A capacity in its current period."""

    capacity_id: str = Field(examples=["call-backs"])
    name: str = Field(examples=["Call-backs by the service team"])
    per: Literal["hour", "day", "total"]
    period: str = Field(description="in the time zone of the capacity", examples=["2026-03-29"])
    ends_at: datetime | None = Field(
        description="when the next period begins; null if it is one for all time"
    )
    counts: Counts = Field(description="the step that uses up a unit")
    max: int = Field(examples=[300])
    used: int = Field(
        description="units of logged decisions, presentations or acceptances, up to about a second ago",
        examples=[120],
    )
    leased: int = Field(description="had by processes, for decisions to come", examples=[8])
    held: int = Field(
        description="by decisions of which it is not known yet whether they use up a unit; 0 if decisions are counted",
        examples=[0],
    )
    remaining: int = Field(
        description="not used; where decisions are counted: nor had by processes", examples=[172]
    )
    open_offers: int | None = Field(
        description="how many more decisions may hold a unit now; null if decisions are counted"
    )


class UsagesOut(BaseModel):
    """All capacities of the catalogue, in the order of their ids."""

    capacities: list[UsageOut]


class PriceOut(BaseModel):
    """The price of a unit from a time on, and how many were left then."""

    at: datetime
    price: float = Field(description="what an offer had to be worth", examples=[4.2])
    left: int = Field(examples=[37])


class CapacityValueOut(BaseModel):
    """The gain of keeping a capacity for value in its current period, against giving units to the first to come.

    Values are expected ones (value times propensity), but for `accepted_value`.
    """

    capacity_id: str = Field(examples=["call-backs"])
    period: str = Field(examples=["2026-03-29"])
    keep_for_value: bool
    price: float = Field(description="now; 0 if there is enough for all that is expected")
    given: int = Field(description="offers given in the period")
    withheld: int = Field(description="times that an offer was kept for customers of more value")
    value: float = Field(description="expected of what was given")
    first_come_value: float = Field(description="expected, had the first to come been given the units")
    accepted_value: float = Field(description="of what was given and accepted by now")
    prices: list[PriceOut] = Field(description="as they were set in the period")


class HourOut(BaseModel):
    """Units that were used in the hour that begins then."""

    at: datetime
    used: int


class CapacityHoursOut(BaseModel):
    """The units of a capacity that were used by hour: of its day so far, or of 24 hours with this one."""

    capacity_id: str = Field(examples=["call-backs"])
    per: Literal["hour", "day", "total"]
    max: int = Field(examples=[300])
    counts: Counts = Field(description="the step that uses up a unit")
    hours: list[HourOut] = Field(
        description="in the order of time, this hour last; those in which nothing was used too"
    )
