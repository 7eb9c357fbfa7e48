"""Capacity: what of it is used."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.deps import Reader, State, problems
from decisioning.capacity.leasing import Usage
from storage import clock
from storage.clock import to_datetime

router = APIRouter(prefix="/v1/reports", tags=["capacities"])


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


@router.get("/capacity", responses=problems())
async def read_capacity_usage(state: State, key: Reader) -> UsagesOut:
    """How much of each capacity is used in its current period."""
    found = await state.capacity_leases.usage(clock.now_ms())
    return UsagesOut(
        capacities=[_out(usage) for usage in sorted(found, key=lambda u: u.capacity.capacity_id)]
    )


def _out(usage: Usage) -> UsageOut:
    capacity, period = usage.capacity, usage.period
    return UsageOut(
        capacity_id=capacity.capacity_id,
        name=capacity.name,
        per=capacity.per,
        period=period.period_id,
        ends_at=None if capacity.per == "total" else to_datetime(period.ends_ms),
        max=capacity.max,
        used=usage.used,
        leased=usage.leased,
        remaining=usage.remaining,
    )
