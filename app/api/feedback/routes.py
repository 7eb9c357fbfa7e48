"""Feedback: one outcome, or many."""

import asyncio
from collections import Counter

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
    service, answers = (
        state.feedback.batch(),
        [FeedbackItemAnswer(status="refused", code=503)] * len(body.items),
    )
    numbered = iter(enumerate(body.items))

    async def record_next() -> None:
        # Each item is answered for itself: one that is refused must not lose the others.
        for place, item in numbered:
            answers[place] = await _record_item(service, item)

    await asyncio.gather(*(record_next() for _ in range(min(MAX_CONCURRENT_ITEMS, len(body.items)))))
    told = Counter((item.outcome, answer.status) for item, answer in zip(body.items, answers, strict=True))
    for labels, count in told.items():
        FEEDBACK.labels(*labels).inc(count)
    return FeedbackBatchAnswer(items=answers, degraded=state.degraded() or None)


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
