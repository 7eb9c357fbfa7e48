"""Usage of capacities, as it travels."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field


class UsageOut(BaseModel):
    """A capacity in its current period."""

    capacity_id: str = Field(examples=["call-backs"])
    name: str = Field(examples=["Call-backs by the service team"])
    per: Literal["hour", "day", "total"]
    period: str = Field(description="in the time zone of the capacity", examples=["2026-03-29"])
    ends_at: datetime | None = Field(
        description="when the next period begins; null if it is one for all time"
    )
    max: int = Field(examples=[300])
    used: int = Field(description="units of logged decisions, up to about a second ago", examples=[120])
    leased: int = Field(description="held by processes, not used yet", examples=[8])
    remaining: int = Field(description="neither used nor held", examples=[172])


class UsagesOut(BaseModel):
    """All capacities of the catalogue, in the order of their ids."""

    capacities: list[UsageOut]
