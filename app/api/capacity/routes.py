"""Capacity: what of it is used."""

from fastapi import APIRouter

from app.api.capacity.schemas import UsageOut, UsagesOut
from app.api.deps import Reader, State, problems
from app.api.schemas import answer_of
from decisioning.capacity.leasing import Usage
from storage import clock
from storage.clock import to_datetime

router = APIRouter(prefix="/v1/reports", tags=["capacities"])


@router.get("/capacity", responses=problems())
async def read_capacity_usage(state: State, key: Reader) -> UsagesOut:
    """Report the use of each capacity in its current period."""
    found = await state.capacity_leases.usage(clock.now_ms())
    return UsagesOut(
        capacities=[_usage_out(usage) for usage in sorted(found, key=lambda u: u.capacity.capacity_id)]
    )


def _usage_out(usage: Usage) -> UsageOut:
    capacity, period = usage.capacity, usage.period
    return answer_of(
        UsageOut,
        capacity,
        period=period.period_id,
        ends_at=None if capacity.per == "total" else to_datetime(period.ends_ms),
        counts=capacity.counting,
        used=usage.used,
        leased=usage.leased,
        held=usage.held,
        remaining=usage.remaining,
        open_offers=usage.open_offers,
    )
