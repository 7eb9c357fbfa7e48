"""What was set aside, as it travels."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.api.cursors import LetterCursor
from app.api.schemas import Body, Parameters, Text, examples, shown
from app.api.values import dead_letter_id, form
from decisioning.events.retrying_service import RetryStatus

MAX_SHOWN = 200
MAX_AT_ONCE = 500
"""Records that a request processes again, or drops."""
MAX_REASON_CHARS = 500

Source = Literal["log", "events"]
LetterId = Annotated[str, form(r"^(events|[0-9]{1,5}):[0-9]{1,20}-[0-9]{1,20}$", dead_letter_id)]

_ID = "events:1764209938123-0"
LETTER_EXAMPLE: dict[str, Any] = {
    "id": _ID,
    "source": "events",
    "set_aside_at": "2026-03-08T09:00:00Z",
    "reason": "type: there is no event type 'call'",
    "bytes": 118,
    "kind": "call",
    "record_id": "call-77014",
    "customer_id": "1025",
    "parts": [{"name": "event", "bytes": 113}],
}


class LettersQuery(Parameters):
    """A page of what was set aside."""

    source: Source | None = Field(
        None, description="`log`: records that could not be archived; `events`: of the stream of events"
    )
    limit: int = Field(50, ge=1, le=MAX_SHOWN)
    cursor: LetterCursor | None = Field(None, description="`next` of the page before; the newest if left out")


class PartOut(BaseModel):
    """A field of a record: its name and how many bytes its value has."""

    name: str
    bytes: int


class LetterOut(BaseModel):
    """A record that was set aside. What is in it is not shown, but what it is about."""

    model_config = shown(LETTER_EXAMPLE)

    id: str
    source: Source
    set_aside_at: datetime
    reason: str
    bytes: int = Field(description="the size of the record")
    kind: str | None = Field(
        description="the type of the event, or the kind of the record; null: not readable"
    )
    record_id: str | None = Field(description="the id of the event or of the decision")
    customer_id: str | None
    parts: list[PartOut] = Field(description="the first 12 fields")


class LettersOut(BaseModel):
    """A page of what was set aside, the newest first."""

    model_config = shown({"dead_letters": [LETTER_EXAMPLE], "total": 1, "next": None})

    dead_letters: list[LetterOut]
    total: int = Field(description="how many there are, of both sources")
    next: str | None = Field(description="`cursor` of the next page; null if this is the last")


class RetryRequest(Body):
    """The records that are to be processed again: some, or all, 500 at once, the earliest first."""

    model_config = examples({"ids": [_ID], "reason": "the type is declared now"}, {"source": "log"})

    ids: list[LetterId] | None = Field(
        None, min_length=1, max_length=MAX_AT_ONCE, description="left out: all, the earliest first"
    )
    source: Source | None = Field(None, description="of all, only these")
    cursor: LetterCursor | None = Field(None, description="of all, those behind: `next` of the answer before")
    reason: Text = Field("", max_length=MAX_REASON_CHARS, description="for the trail")


class RetriedOut(BaseModel):
    """The end of one attempt at a record."""

    id: str
    status: RetryStatus = Field(
        description="`archived`; `put_back`: it is in the stream of events, where a worker looks at it again;"
        " `refused`: it still cannot be; `gone`: it is not set aside any more; `busy`: the archiver was at work"
        " all the time, try again"
    )
    reason: str = Field(description="why it is refused, gone or busy")


class RetryAnswer(BaseModel):
    """The ends of the attempts, in the order in which records were tried; those behind a `busy` one were not."""

    model_config = shown({"results": [{"id": _ID, "status": "put_back", "reason": ""}], "next": None})

    results: list[RetriedOut]
    next: str | None = Field(description="`cursor` that goes on with all others; null if none are left")


class DropRequest(Body):
    """Records that are to be deleted for good, and why."""

    model_config = examples({"ids": [_ID], "reason": "a test of the sender"})

    ids: list[LetterId] = Field(min_length=1, max_length=MAX_AT_ONCE)
    reason: Text = Field(min_length=1, max_length=MAX_REASON_CHARS, description="for the trail")


class DropAnswer(BaseModel):
    """The ids of the records that were deleted; those that are not there were not set aside any more."""

    model_config = shown({"dropped": [_ID]})

    dropped: list[str]
