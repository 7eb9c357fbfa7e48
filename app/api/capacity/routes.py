"""Capacity: what of it is used."""

from fastapi import APIRouter

from app.api.capacity.schemas import (
    CapacityHoursOut,
    CapacityValueOut,
    HourOut,
    PriceOut,
    UsageOut,
    UsagesOut,
)
from app.api.deps import Reader, State, problems
from app.api.schemas import Id, answer_of
from decisioning.capacity.leasing import Usage, period_at
from decisioning.capacity.pricing import what_was_earned
from decisioning.capacity.store_hours import used_by_hour
from decisioning.capacity.store_pricing import CapacityPrices
from decisioning.errors import NotFound
from storage import clock
from storage.clock import to_datetime

MAX_REPORTED = 200_000
"""The newest offers of a period that are looked at: what they are worth is added up for each request."""

router = APIRouter(prefix="/v1/reports", tags=["capacities"])


@router.get("/capacity", responses=problems())
async def read_capacity_usage(state: State, key: Reader) -> UsagesOut:
    """Report the use of each capacity in its current period."""
    found = await state.capacity_leases.usage(clock.now_ms())
    return UsagesOut(
        capacities=[_usage_out(usage) for usage in sorted(found, key=lambda u: u.capacity.capacity_id)]
    )


@router.get("/capacity/{capacity_id}/value", responses=problems(404))
async def read_capacity_value(capacity_id: Id, state: State, key: Reader) -> CapacityValueOut:
    """Report what keeping the last units of a capacity for more valuable customers has brought in this period."""
    capacity = state.current_catalogue().capacities.get(capacity_id)
    if capacity is None:
        raise NotFound("capacity", capacity_id)
    now_ms, prices = clock.now_ms(), CapacityPrices(state.engine)
    period = period_at(capacity, now_ms)
    points = await prices.points(capacity_id, period.starts_ms, period.ends_ms)
    demand = await prices.demand(capacity, period.starts_ms, now_ms + 1, MAX_REPORTED)
    earned = what_was_earned(demand, capacity.max)
    return CapacityValueOut(
        capacity_id=capacity_id,
        period=period.period_id,
        keep_for_value=capacity.keep_for_value,
        price=points[-1].price if points and capacity.keep_for_value else 0.0,
        given=earned.given,
        withheld=earned.withheld,
        value=earned.value,
        first_come_value=earned.first_come_value,
        accepted_value=earned.accepted,
        prices=[PriceOut(at=to_datetime(p.at_ms), price=p.price, left=p.left) for p in points],
    )


@router.get("/capacity/{capacity_id}/hours", responses=problems(404))
async def read_capacity_hours(capacity_id: Id, state: State, key: Reader) -> CapacityHoursOut:
    """Report how many units of a capacity were used in each hour of its day, up to about a second ago.

    Of a capacity by hour or for all time: in each of 24 hours, of which this one is the last. What was taken back or
    never presented is not counted.
    """
    capacity = state.current_catalogue().capacities.get(capacity_id)
    if capacity is None:
        raise NotFound("capacity", capacity_id)
    hours = await used_by_hour(state.engine, capacity, clock.now_ms())
    return CapacityHoursOut(
        capacity_id=capacity_id,
        per=capacity.per,
        max=capacity.max,
        counts=capacity.counting,
        hours=[HourOut(at=to_datetime(hour.at_ms), used=hour.used) for hour in hours],
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
