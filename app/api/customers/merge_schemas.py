"""Merges of visitors, as they travel."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.api.schemas import Body, examples, shown
from app.api.values import form, visitor_name
from profiles.limits import MAX_ID_CHARS


class MergeBody(Body):
    """The visitor who turned out to be the customer."""

    model_config = examples({"visitor_id": "visitor:4f0a8f0d2c9f6b1a7e35"})

    visitor_id: Annotated[str, form(r"^[A-Za-z0-9_:.-]+$", visitor_name, max_length=MAX_ID_CHARS)] = Field(
        description="as the page knows it, or with `visitor:` in front, as events and decisions name it"
    )


class MergeAnswer(BaseModel):
    """The visitor is the customer from now on; or was already."""

    model_config = shown(
        {
            "status": "merged",
            "visitor_id": "visitor:4f0a8f0d2c9f6b1a7e35",
            "customer_id": "1025",
            "merged_at": "2026-05-01T09:00:00Z",
        }
    )

    status: Literal["merged", "already_merged"]
    visitor_id: str
    customer_id: str = Field(
        description="who the visitor is: of a visitor who has signed in since, the customer"
    )
    merged_at: datetime
