"""Feedback, as it travels."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WrapValidator

from app.api.batch import MAX_ITEMS, BatchAnswer, ItemAnswer, MalformedItem, or_malformed
from app.api.schemas import Body, DecisionId, Id, Instant, Money, examples, shown
from storage.clock import floor_ms

_DECISION = "nb02a-6f1d0c9b7e2f4f0a8f0d2c9f6b1a7e35"

_DEGRADED = (
    "there only if something is wrong: `archive_stands_still`: it is safe in the log, and not yet archived"
)
Recorded = Literal["recorded", "duplicate", "late"]


class FeedbackRequest(Body):
    """An outcome: something that happened to an offer of a decision."""

    model_config = examples(
        {"decision_id": _DECISION, "offer_id": "gold", "outcome": "accepted", "value": 40.0}
    )

    decision_id: DecisionId
    offer_id: Id
    outcome: Id = Field(
        description="`presented`, `clicked`, `accepted`, `rejected`, or an outcome that the catalogue declares"
    )
    value: Money | None = Field(None, description="what it brought, if known")
    reason: Id | None = Field(
        None, description="why, such as why it was rejected: one that the catalogue declares"
    )
    occurred_at: Instant | None = Field(None, description="when it happened, by default now")

    def at_ms(self) -> int | None:
        """``occurred_at`` in Unix milliseconds."""
        return None if self.occurred_at is None else floor_ms(self.occurred_at)


class FeedbackAnswer(BaseModel):
    """``recorded``: counts. ``duplicate``: had been counted. ``late``: logged, but not learned from."""

    model_config = shown({"status": "recorded"})

    status: Recorded
    degraded: list[str] | None = Field(None, description=_DEGRADED)


class FeedbackBatch(Body):
    """Many outcomes; each is answered for itself, whatever is wrong with others."""

    model_config = examples(
        {
            "items": [
                {"decision_id": _DECISION, "offer_id": "gold", "outcome": "presented"},
                {"decision_id": _DECISION, "offer_id": "gold", "outcome": "rejected"},
            ]
        }
    )

    items: list[Annotated[FeedbackRequest | Any, WrapValidator(or_malformed(FeedbackRequest))]] = Field(
        min_length=1, max_length=MAX_ITEMS
    )

    def outcomes(self) -> "list[FeedbackRequest | MalformedItem]":
        """The items, those that are no outcomes among them."""
        return list(self.items)


class FeedbackItemAnswer(ItemAnswer):
    __doc__ = ItemAnswer.__doc__

    status: Literal[Recorded, "refused"]


class FeedbackBatchAnswer(BatchAnswer):
    __doc__ = BatchAnswer.__doc__

    model_config = shown(
        {
            "refused": 2,
            "items": [
                {"index": 0, "status": "recorded", "code": 200, "field": None, "reason": None},
                {
                    "index": 1,
                    "status": "refused",
                    "code": 404,
                    "field": None,
                    "reason": f"there is no decision '{_DECISION}'",
                },
                {
                    "index": 2,
                    "status": "refused",
                    "code": 422,
                    "field": "outcome",
                    "reason": "outcome: should be 'accepted', 'clicked', 'presented' or 'rejected';"
                    " did you mean 'accepted'?",
                },
            ],
        }
    )

    items: list[FeedbackItemAnswer]
    degraded: list[str] | None = Field(None, description=_DEGRADED)
