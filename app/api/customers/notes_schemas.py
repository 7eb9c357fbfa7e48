"""Notes on a customer, as they travel."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from app.api.schemas import Body, DecisionId, Parameters, examples, shown, storable

MAX_NOTE_BYTES = 4096


def _fits(value: str) -> str:
    size = len(value.encode())
    if size > MAX_NOTE_BYTES:
        raise ValueError(f"has {size} bytes, and {MAX_NOTE_BYTES} is the most: make two notes of it")
    return value


NoteText = Annotated[
    str,
    StringConstraints(min_length=1, strip_whitespace=True),
    AfterValidator(storable),
    AfterValidator(_fits),
]


class NoteBody(Body):
    """A note. Author and time are those of the request."""

    model_config = examples({"text": "Asked to be called back on Monday.", "reason": "question"})

    text: NoteText = Field(description=f"up to {MAX_NOTE_BYTES} bytes in UTF-8")
    reason: Annotated[str, AfterValidator(storable)] = Field(
        "", max_length=200, description="the reason of the contact"
    )
    decision_id: DecisionId | None = Field(None, description="the decision that it was written beside")


class NotesQuery(Parameters):
    """A page of notes."""

    limit: int = Field(20, ge=1, le=100)
    before: int | None = Field(None, ge=1, le=2**63 - 1, description="`next` of the page before")


class NoteOut(BaseModel):
    """A note on a customer."""

    note_id: int
    text: str
    reason: str
    decision_id: str | None
    author: str
    mine: bool = Field(description="whether the caller wrote it, and so may delete it")
    written_at: datetime


class CustomerNotes(BaseModel):
    """A page of the notes on a customer, the newest first."""

    model_config = shown(
        {
            "notes": [
                {
                    "note_id": 7,
                    "text": "Asked to be called back on Monday.",
                    "reason": "question",
                    "decision_id": None,
                    "author": "desk",
                    "mine": True,
                    "written_at": "2026-03-08T09:00:00Z",
                }
            ],
            "next": None,
        }
    )

    notes: list[NoteOut]
    next: int | None = Field(description="`before` of the next page; null if this is the last")
