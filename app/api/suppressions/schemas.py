"""Entries in suppression lists, as they travel."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas import Body, Instant, Name, examples, shown

SUPPRESSION_EXAMPLE = {
    "list_id": "complaints",
    "reason": "an open complaint",
    "until": "2026-12-31T23:00:00Z",
    "added_at": "2026-11-20T09:30:00Z",
}


class SuppressionBody(Body):
    """The reason why a customer must not be contacted, and until when."""

    model_config = examples({"reason": "an open complaint", "until": "2026-12-31T23:00:00Z"})

    reason: Name
    until: Instant | None = Field(
        None, description="when it ends (exclusive); null if it does not end by itself"
    )


class SuppressionOut(BaseModel):
    """A customer's entry in a suppression list."""

    model_config = shown(SUPPRESSION_EXAMPLE)

    list_id: str
    reason: str
    until: datetime | None
    added_at: datetime


class SuppressionStored(BaseModel):
    """The entry is in force."""

    model_config = shown({"list_id": "complaints", "customer_id": "1025"})

    list_id: str
    customer_id: str
