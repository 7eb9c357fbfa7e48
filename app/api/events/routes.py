"""Events: one, or many."""

from collections import Counter

from fastapi import APIRouter, Response
from pydantic_core import to_json

from app.api.batch import MalformedItem, answer_each
from app.api.body import DirectRoute, JsonRoute
from app.api.deps import Frontend, State, problems
from app.api.events.schemas import EventAnswer, EventBatch, EventBatchAnswer, EventItemAnswer, EventRequest
from app.metrics import EVENTS
from decisioning.errors import Invalid
from decisioning.events.intake_service import EventIntake
from storage.errors import Unavailable

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=JsonRoute)


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
    items = body.events()

    async def answer(index: int, item: EventRequest | MalformedItem) -> EventItemAnswer:
        return await _record_item(state.events, index, item)

    answers = await answer_each(items, answer)
    told = [(_label(item, one.status), one.status) for item, one in zip(items, answers, strict=True)]
    for labels, count in Counter(told).items():
        EVENTS.labels(*labels).inc(count)
    refused = sum(one.status == "refused" for one in answers)
    return EventBatchAnswer(refused=refused, items=answers, degraded=state.degraded() or None)


async def _record_item(
    intake: EventIntake, index: int, item: EventRequest | MalformedItem
) -> EventItemAnswer:
    if isinstance(item, MalformedItem):
        return _refused(index, 422, item.reason, item.field)
    try:
        return EventItemAnswer(index=index, status=await intake.record(item.received()), code=200)
    except Invalid as error:
        return _refused(index, 422, f"{error.field}: {error}", error.field)
    except Unavailable:
        return _refused(index, 503, "could not be stored; send it again")


def _label(item: EventRequest | MalformedItem, status: str) -> str:
    """Return the type as metrics name it: only what was recorded has one that is declared."""
    return "refused" if status == "refused" or isinstance(item, MalformedItem) else item.type


def _refused(index: int, code: int, reason: str, field: str | None = None) -> EventItemAnswer:
    return EventItemAnswer(index=index, status="refused", code=code, field=field, reason=reason)
