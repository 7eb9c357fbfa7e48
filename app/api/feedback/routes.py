"""Feedback: one outcome, or many."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from fastapi import APIRouter, Response
from pydantic_core import to_json

from app.api.batch import MalformedItem, describe_refusal
from app.api.body import BatchRoute, DirectRoute
from app.api.deps import Frontend, State, Teller, problems
from app.api.feedback.schemas import (
    FeedbackAnswer,
    FeedbackBatch,
    FeedbackBatchAnswer,
    FeedbackRequest,
    Recorded,
)
from app.metrics import FEEDBACK
from app.state import ApiState
from decisioning.errors import Refusal
from decisioning.log.feedback_service import Feedback
from decisioning.model.outcome import BUILT_IN

router = APIRouter(prefix="/v1/feedback", tags=["feedback"], route_class=BatchRoute)


def _to_feedback(body: FeedbackRequest) -> Feedback:
    return Feedback(body.decision_id, body.offer_id, body.outcome, body.value, body.at_ms(), body.reason)


async def record_feedback(body: FeedbackRequest, state: State, key: Teller) -> Response:
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


@router.post("/batch", response_model=FeedbackBatchAnswer, responses=problems(body=True))
async def record_feedback_batch(body: FeedbackBatch, state: State, key: Frontend) -> Response:
    """Tell many outcomes at once; each is answered for itself, in the order of the items.

    The answer is 200 if the batch could be read, even if all of its items were refused: `refused` says how many, and
    each item what is wrong with it. An item that is malformed does not keep others from being recorded. A batch that
    is no batch (no `items`, none or more than 1,000 of them, other fields) is a 422, and nothing of it is recorded.
    """
    answer = await answer_batch(state.feedback.batch(), body.outcomes(), state)
    return Response(to_json(answer), media_type="application/json")


class Recorder(Protocol):
    """Whatever records outcomes."""

    async def record_all(self, told: Sequence[Feedback]) -> Sequence[Recorded | Refusal]:
        """Record outcomes as ``FeedbackService.record_all`` does."""
        ...


async def answer_batch(
    service: Recorder, items: Sequence[FeedbackRequest | MalformedItem], state: ApiState
) -> dict[str, Any]:
    """Record the items of a batch, and answer each for itself: a ``FeedbackBatchAnswer``, without its models.

    There may be a thousand of them, with nothing left to be validated.
    """
    recorded = iter(
        await service.record_all(
            [_to_feedback(item) for item in items if not isinstance(item, MalformedItem)]
        )
    )
    told = [item if isinstance(item, MalformedItem) else next(recorded) for item in items]
    answers = [_answer_item(index, one) for index, one in enumerate(told)]
    known = {*BUILT_IN, *state.current_catalogue().outcomes}
    outcomes = (_label(known, item) for item in items)
    for labels, count in Counter(
        zip(outcomes, (answer["status"] for answer in answers), strict=True)
    ).items():
        FEEDBACK.labels(*labels).inc(count)
    refused = sum(answer["status"] == "refused" for answer in answers)
    return {"refused": refused, "items": answers, "degraded": state.degraded() or None}


def _answer_item(index: int, told: Recorded | Refusal | MalformedItem) -> dict[str, Any]:
    """Write a ``FeedbackItemAnswer``."""
    if isinstance(told, str):
        return {"index": index, "status": told, "code": 200, "field": None, "reason": None}
    field: str | None
    if isinstance(told, MalformedItem):
        code, field, reason = 422, told.field, told.reason
    else:
        code, field, reason = describe_refusal(told)
    return {"index": index, "status": "refused", "code": code, "field": field, "reason": reason}


def _label(known: Collection[str], item: FeedbackRequest | MalformedItem) -> str:
    """Name the outcome of an item in metrics: those that there are, so that senders do not make up names."""
    if isinstance(item, MalformedItem):
        return "malformed"
    return item.outcome if item.outcome in known else "undeclared"
