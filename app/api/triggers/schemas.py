"""Firings of triggers, as they travel."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from app.api.cursors import FiringCursor
from app.api.schemas import CustomerId, DecisionId, Parameters, shown, storable
from decisioning.triggers.firing import FiringStatus

MAX_SHOWN = 500
FIRING_EXAMPLE: dict[str, Any] = {
    "firing_id": "5b1e7a52-6a6f-4c9e-9d0e-0f6a2f1c7b3d",
    "trigger": "dropped-calls",
    "customer_id": "1025",
    "cause": {"event": "call_dropped", "event_id": "call-7731"},
    "fired_at": "2026-03-08T09:00:00Z",
    "deadline_at": "2026-03-08T10:00:00Z",
    "status": "failed",
    "reason": "the webhook: answered 503",
    "attempts": 11,
    "next_attempt_at": None,
    "updated_at": "2026-03-08T09:57:12Z",
    "decision_id": "firing-5b1e7a52-6a6f-4c9e-9d0e-0f6a2f1c7b3d:0:sms",
    "placement": "sms",
    "channel": "sms",
}
_DECISION_EXAMPLE = {
    "decision_id": FIRING_EXAMPLE["decision_id"],
    "placement": "sms",
    "policy": {"name": "calibrated", "version": 1},
    "control": False,
    "offers": [
        {
            "offer_id": "sorry-bonus",
            "rank": 1,
            "score": 1.2,
            "factors": {"P": 0.3, "C": 1.0, "V": 4.0, "L": 1.0},
            "probability": 0.9,
            "treatment": {
                "treatment_id": "text",
                "channel": "sms",
                "language": "en",
                "title": "Sorry for the dropped calls",
                "message": "Here are 2 GB for you.",
                "image": None,
                "script": None,
            },
        }
    ],
    "nothing_right_now": False,
    "degraded": [],
    "feedback_until": "2026-03-15T09:00:00.120Z",
}


class FiringsQuery(Parameters):
    """A page of firings."""

    trigger: Annotated[str, AfterValidator(storable)] | None = Field(None, max_length=128)
    status: FiringStatus | None = Field(None, description="`failed`: those that can be sent again")
    customer_id: CustomerId | None = None
    limit: int = Field(50, ge=1, le=MAX_SHOWN)
    cursor: FiringCursor | None = Field(None, description="`next` of the page before; the newest if left out")


class FiringOut(BaseModel):
    """A firing, and what has become of it by now."""

    model_config = shown(FIRING_EXAMPLE)

    firing_id: UUID
    trigger: str
    customer_id: str
    cause: dict[str, Any] = Field(
        description="what led to it, but for properties of events that are personal"
    )
    fired_at: datetime
    deadline_at: datetime
    status: FiringStatus = Field(
        description="`due`: it is to be decided; `decided`: it is to be delivered; `delivered`; `nothing`: there was"
        " no offer; `dropped`: its time was over, or its day before the event came; `failed`: nobody took it in time"
    )
    reason: str | None = Field(description="why there was no offer, or why it could not be delivered")
    attempts: int = Field(description="how often a worker has taken it up")
    next_attempt_at: datetime | None = Field(description="when it is taken up again")
    updated_at: datetime
    decision_id: DecisionId | None
    placement: str | None
    channel: str | None


class FiringDetail(FiringOut):
    """A firing with the decision that was made for it."""

    model_config = shown(FIRING_EXAMPLE | {"decision": _DECISION_EXAMPLE})

    decision: dict[str, Any] | None = Field(
        description="the answer, as `POST /v1/decisions` gives it; null if there is none"
    )


class FiringsOut(BaseModel):
    """A page of firings, the newest first."""

    model_config = shown({"firings": [FIRING_EXAMPLE], "next": None})

    firings: list[FiringOut]
    next: str | None = Field(description="`cursor` of the next page; null if this is the last")


class TriggerCount(BaseModel):
    """Firings of a trigger by status."""

    trigger: str
    counts: dict[FiringStatus, int]
    last_fired_at: datetime | None = Field(
        description="when it fired last in these days, whatever came of it; events whose day was over do not count:"
        " null if there are only these"
    )


class FiringCounts(BaseModel):
    """Firings of the last days, by trigger and status."""

    model_config = shown(
        {
            "days": 7,
            "triggers": [
                {
                    "trigger": "dropped-calls",
                    "counts": {"delivered": 312, "nothing": 40, "failed": 1},
                    "last_fired_at": "2026-03-08T09:00:00Z",
                }
            ],
        }
    )

    days: int
    triggers: list[TriggerCount]


class CountsQuery(Parameters):
    """The days to count."""

    days: int = Field(7, ge=1, le=90)
