"""Events: one, or many, in our shape and in that of others."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Response
from pydantic_core import to_json

from app.api.batch import MalformedItem, answer_each, answer_item, read_item
from app.api.body import BatchRoute, DirectRoute
from app.api.deps import Frontend, State, problems
from app.api.events.schemas import (
    CloudEvents,
    EventAnswer,
    EventBatch,
    EventBatchAnswer,
    EventItemAnswer,
    EventRequest,
    SegmentCalls,
    SnowplowEvents,
)
from app.api.events.shapes import cloudevents, segment, snowplow
from app.api.events.shapes.cloudevents import from_cloudevent
from app.api.events.shapes.segment import from_segment
from app.api.events.shapes.snowplow import from_snowplow
from app.metrics import EVENTS
from app.state import ApiState
from decisioning.errors import Invalid
from storage.errors import RedisUnavailable

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=BatchRoute)


async def record_event(body: EventRequest, state: State, key: Frontend) -> Response:
    """Tell an event of a customer. May be sent again as often as needed: it counts once.

    When this answers, the event is in the log, and the next decision of every process knows what it tells.
    """
    status = await state.events.record(body.received())
    EVENTS.labels(body.type, status).inc()
    degraded = state.degraded()
    answer = {"status": status, "degraded": degraded} if degraded else {"status": status}
    return Response(to_json(answer), media_type="application/json")


router.add_api_route(
    "",
    record_event,
    methods=["POST"],
    response_model=EventAnswer,
    responses=problems(body=True),
    route_class_override=DirectRoute,
)


@router.post("/batch", responses=problems(body=True))
async def record_event_batch(body: EventBatch, state: State, key: Frontend) -> EventBatchAnswer:
    """Tell many events at once; each is answered for itself, in the order of the items.

    The answer is 200 if the batch could be read, even if all of its items were refused: `refused` says how many, and
    each item what is wrong with it. A batch that is no batch (no `items`, none or more than 1,000 of them, other
    fields) is a 422, and nothing of it is recorded.
    """
    return await _record_all(state, body.events())


@router.post("/segment", responses=problems(body=True))
async def record_segment_events(body: SegmentCalls, state: State, key: Frontend) -> EventBatchAnswer:
    """Tell events as Segment sends them: one call, a list, or a `batch` of them.

    One call alone that cannot be recorded is a 422; of several each is answered for itself, as in a batch.
    """
    return await _record_shaped(state, body.calls(), body.is_one, from_segment, segment.FIELDS)


@router.post("/snowplow", responses=problems(body=True))
async def record_snowplow_events(body: SnowplowEvents, state: State, key: Frontend) -> EventBatchAnswer:
    """Tell enriched events of Snowplow as JSON: one, or a list.

    One alone that cannot be recorded is a 422; of several each is answered for itself, as in a batch.
    """
    return await _record_shaped(state, body.items(), body.is_one, from_snowplow, snowplow.FIELDS)


@router.post("/cloudevents", responses=problems(body=True))
async def record_cloudevents(body: CloudEvents, state: State, key: Frontend) -> EventBatchAnswer:
    """Tell CloudEvents 1.0 as structured JSON: one, or a list (the content types of CloudEvents are taken, too).

    One alone that cannot be recorded is a 422; of several each is answered for itself, as in a batch.
    """
    return await _record_shaped(state, body.items(), body.is_one, from_cloudevent, cloudevents.FIELDS)


async def _record_shaped(
    state: ApiState,
    sent: Sequence[Any],
    is_one: bool,
    mapping: Callable[[Mapping[str, Any]], dict[str, Any]],
    names: Mapping[str, str],
) -> EventBatchAnswer:
    """Record events in the shape of others. ``names``: under which senders know the fields. Raises ``Invalid``."""
    items = [
        read_item(EventRequest, mapping(one) if isinstance(one, Mapping) else one, names)
        if isinstance(one, Mapping | MalformedItem)
        else MalformedItem("item", "item: must be an object")
        for one in sent
    ]
    answer = await _record_all(state, items, names)
    first = answer.items[0]
    if is_one and first.code == 422:
        field = first.field or "body"
        raise Invalid(field, (first.reason or "").removeprefix(f"{field}: "))
    if is_one and first.code == 503:
        raise RedisUnavailable(first.reason)
    return answer


async def _record_all(
    state: ApiState, items: Sequence[EventRequest | MalformedItem], names: Mapping[str, str] | None = None
) -> EventBatchAnswer:
    async def answer(index: int, item: EventRequest | MalformedItem) -> EventItemAnswer:
        return await answer_item(
            EventItemAnswer, index, item, lambda told: state.events.record(told.received()), names
        )

    answers = await answer_each(items, answer)
    told = [(_label(item, one.status), one.status) for item, one in zip(items, answers, strict=True)]
    for labels, count in Counter(told).items():
        EVENTS.labels(*labels).inc(count)
    refused = sum(one.status == "refused" for one in answers)
    return EventBatchAnswer(refused=refused, items=answers, degraded=state.degraded() or None)


def _label(item: EventRequest | MalformedItem, status: str) -> str:
    """Return the type as metrics name it: only what was recorded has one that is declared."""
    return "refused" if status == "refused" or isinstance(item, MalformedItem) else item.type
