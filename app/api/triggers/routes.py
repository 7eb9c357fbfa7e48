"""Firings of triggers, which are declared at ``/v1/triggers/{id}``."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from app.api.cursors import FIRINGS
from app.api.deps import Ops, Reader, State, problems
from app.api.schemas import answer_of
from app.api.triggers.schemas import (
    CountsQuery,
    FiringCounts,
    FiringDetail,
    FiringOut,
    FiringsOut,
    FiringsQuery,
    TriggerCount,
)
from decisioning.errors import Conflict, NotFound
from decisioning.triggers.store_delivery import FiringDeliveries, FiringFilter
from storage import clock
from storage.clock import DAY_MS, to_ms

router = APIRouter(prefix="/v1/firings", tags=["triggers"])


@router.get("", responses=problems())
async def read_firings(state: State, key: Reader, query: Annotated[FiringsQuery, Query()]) -> FiringsOut:
    """Show what fired and what became of it, the newest first, page by page."""
    before = None if query.cursor is None else FIRINGS.parse(query.cursor)
    wanted = FiringFilter(query.trigger, query.status, query.customer_id, before)
    # One more than is shown tells whether there is another page.
    found = await FiringDeliveries(state.engine).shown(wanted, query.limit + 1)
    rows = found[: query.limit]
    last = rows[-1] if len(found) > query.limit else None
    return FiringsOut(
        firings=[_firing_out(row) for row in rows],
        next=None if last is None else f"{to_ms(last.fired_at)}:{last.firing_id}",
    )


@router.get("/counts", responses=problems())
async def count_firings(state: State, key: Reader, query: Annotated[CountsQuery, Query()]) -> FiringCounts:
    """Count what fired in the last days, by trigger and what became of it."""
    since_ms = clock.now_ms() - query.days * DAY_MS
    found: dict[str, TriggerCount] = {}
    for row in await FiringDeliveries(state.engine).counts(since_ms):
        one = found.setdefault(
            row.trigger_id, TriggerCount(trigger=row.trigger_id, counts={}, last_fired_at=None)
        )
        one.counts[row.status] = row.firings
        times = [at for at in (one.last_fired_at, row.last_fired_at) if at is not None]
        one.last_fired_at = max(times, default=None)
    return FiringCounts(days=query.days, triggers=list(found.values()))


@router.get("/{firing_id}", responses=problems(404))
async def read_firing(firing_id: UUID, state: State, key: Reader) -> FiringDetail:
    """A firing with the decision that was made for it."""
    row = await FiringDeliveries(state.engine).find(str(firing_id))
    if row is None:
        raise NotFound("firing", str(firing_id))
    return answer_of(FiringDetail, row, **_of_row(row), decision=(row.chosen or {}).get("decision"))


@router.post("/{firing_id}/send", responses=problems(404, 409))
async def send_firing(firing_id: UUID, state: State, key: Ops) -> FiringOut:
    """Send again what nobody took in time: the same decision, with as much time as at first.

    To where the trigger says now, so a wrong address or secret is mended before.
    """
    deliveries = FiringDeliveries(state.engine)
    row = await deliveries.send_again(str(firing_id), clock.now_ms())
    if row is None:
        found = await deliveries.find(str(firing_id))
        if found is None:
            raise NotFound("firing", str(firing_id))
        raise Conflict(f"the firing is {found.status}: only what has failed can be sent again")
    return _firing_out(row)


def _firing_out(row: Any) -> FiringOut:
    return answer_of(FiringOut, row, **_of_row(row))


def _of_row(row: Any) -> dict[str, Any]:
    chosen = row.chosen or {}
    return {
        "trigger": row.trigger_id,
        "reason": row.status_reason,
        "placement": chosen.get("placement"),
        "channel": chosen.get("channel"),
    }
