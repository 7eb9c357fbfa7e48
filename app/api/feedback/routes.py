"""Feedback: one outcome, or many."""

import asyncio

from fastapi import APIRouter, Response
from pydantic_core import to_json

from app.api.body import DirectRoute, JsonRoute
from app.api.deps import Frontend, State, problems
from app.api.feedback.schemas import (
    FeedbackAnswer,
    FeedbackBatch,
    FeedbackBatchAnswer,
    FeedbackItemAnswer,
    FeedbackRequest,
)
from app.metrics import FEEDBACK
from decisioning.errors import Conflict, Invalid, NotFound
from decisioning.log.feedback_service import Feedback, FeedbackService
from storage.errors import Unavailable

router = APIRouter(prefix="/v1/feedback", tags=["feedback"], route_class=JsonRoute)

MAX_CONCURRENT_ITEMS = 64
"""Of one batch, so that a large one does not crowd out other requests."""


def _to_feedback(body: FeedbackRequest) -> Feedback:
    return Feedback(body.decision_id, body.offer_id, body.outcome, body.value, body.at_ms())


async def record_feedback(body: FeedbackRequest, state: State, key: Frontend) -> Response:
    """Tell what happened to an offer. May be sent again as often as needed: it counts once.

    When this answers, the outcome is in the log, and the next decision of every process knows it within milliseconds.
    """
    status = await state.feedback.record(_to_feedback(body))
    FEEDBACK.labels(body.outcome, status).inc()
    degraded = state.degraded()
    answer = {"status": status, "degraded": degraded} if degraded else {"status": status}
    return Response(to_json(answer), media_type="application/json")


router.add_api_route(
    "",
    record_feedback,
    methods=["POST"],
    response_model=FeedbackAnswer,
    responses=problems(404, 409, body=True),
    route_class_override=DirectRoute,
)


@router.post("/batch", responses=problems(body=True))
async def record_feedback_batch(body: FeedbackBatch, state: State, key: Frontend) -> FeedbackBatchAnswer:
    """Tell many outcomes at once; each is answered for itself, in the order of the items."""
    gate, service = asyncio.Semaphore(MAX_CONCURRENT_ITEMS), state.feedback.batch()

    async def one(item: FeedbackRequest) -> FeedbackItemAnswer:
        # Each item is answered for itself: one that is refused must not lose the others.
        async with gate:
            answer = await _record_item(service, item)
        FEEDBACK.labels(item.outcome, answer.status).inc()
        return answer

    items = list(await asyncio.gather(*(one(item) for item in body.items)))
    return FeedbackBatchAnswer(items=items, degraded=state.degraded() or None)


async def _record_item(service: FeedbackService, item: FeedbackRequest) -> FeedbackItemAnswer:
    try:
        return FeedbackItemAnswer(status=await service.record(_to_feedback(item)), code=200)
    except Invalid as error:
        return FeedbackItemAnswer(status="refused", code=422, reason=f"{error.field}: {error}")
    except NotFound as error:
        return FeedbackItemAnswer(status="refused", code=404, reason=str(error))
    except Conflict as error:
        return FeedbackItemAnswer(status="refused", code=409, reason=str(error))
    except Unavailable:
        return FeedbackItemAnswer(status="refused", code=503, reason="could not be stored; send it again")
