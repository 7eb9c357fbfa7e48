"""What was set aside: records of the log that could not be archived, and events that could not be recorded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.body import JsonRoute
from app.api.cursors import letter_cursor, parse_letter_cursor
from app.api.dead_letters.preview import preview_of, size_of
from app.api.dead_letters.schemas import (
    MAX_AT_ONCE,
    DropAnswer,
    DropRequest,
    LetterOut,
    LettersOut,
    LettersQuery,
    PartOut,
    RetriedOut,
    RetryAnswer,
    RetryRequest,
    Source,
)
from app.api.deps import Ops, State, problems
from app.state import ApiState
from decisioning.errors import Invalid
from decisioning.events.retrying_service import Retrying
from decisioning.events.store_inbox import Inbox
from decisioning.log.store_archiver import Archiver
from decisioning.log.store_dead_letters import INBOX, DeadLetter, DeadLetters, Deed, letter_id, place_of

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"], route_class=JsonRoute)


@router.get("", responses=problems())
async def read_dead_letters(state: State, key: Ops, query: Annotated[LettersQuery, Query()]) -> LettersOut:
    """Show what was set aside, the newest first, page by page: when, why, and what it is about."""
    letters = DeadLetters(state.engine)
    before = None if query.cursor is None else parse_letter_cursor(query.cursor)
    # One more than is shown tells whether there is another page.
    found = await letters.newest(before, _of_inbox(query.source), query.limit + 1)
    page = found[: query.limit]
    return LettersOut(
        dead_letters=[_letter_out(one) for one in page],
        total=await letters.count(),
        next=letter_cursor(page[-1].moment) if len(found) > query.limit else None,
    )


@router.post("/retry", responses=problems(body=True))
async def retry_dead_letters(body: RetryRequest, state: State, key: Ops) -> RetryAnswer:
    """Process again what was set aside, after an upgrade or a repair: each counts once, however often this is asked.

    Records of the log are archived; events are put back into the stream that workers take them from. Each that is
    settled is in the privacy trail.
    """
    letters, behind = DeadLetters(state.engine), False
    if body.ids is None:
        after = None if body.cursor is None else parse_letter_cursor(body.cursor)
        found = await letters.earliest(after, _of_inbox(body.source), MAX_AT_ONCE + 1)
        found, behind = found[:MAX_AT_ONCE], len(found) > MAX_AT_ONCE
    elif body.source is not None or body.cursor is not None:
        field = "cursor" if body.source is None else "source"
        raise Invalid(field, "is for all that was set aside: leave it out, or leave out ids")
    else:
        found = await letters.of([place_of(one) for one in body.ids])
    async with _retrying(state, letters) as retrying:
        done = await retrying.retry_all(found, Deed(key.name, body.reason))
    results = [RetriedOut(id=one.letter.letter_id, status=one.status, reason=one.reason) for one in done]
    known = {one.letter_id for one in found}
    results += [
        RetriedOut(id=one, status="gone", reason="it is not set aside")
        for one in dict.fromkeys(body.ids or ())
        if one not in known
    ]
    return RetryAnswer(results=results, next=letter_cursor(found[-1].moment) if behind else None)


@router.post("/drop", responses=problems(body=True))
async def drop_dead_letters(body: DropRequest, state: State, key: Ops) -> DropAnswer:
    """Delete records that were set aside for good. The privacy trail has their ids, who did it, and why."""
    places = [place_of(one) for one in dict.fromkeys(body.ids)]
    dropped = await DeadLetters(state.engine).drop(places, Deed(key.name, body.reason))
    return DropAnswer(dropped=[letter_id(*place) for place in dropped])


@asynccontextmanager
async def _retrying(state: ApiState, letters: DeadLetters) -> AsyncIterator[Retrying]:
    stream = state.settings.event_stream
    assert state.settings.postgres_url is not None
    archiver = Archiver(state.settings.postgres_url)
    try:
        yield Retrying(archiver, letters, Inbox(state.redis, stream, "") if stream else None)
    finally:
        await archiver.close()


def _of_inbox(source: Source | None) -> bool | None:
    return None if source is None else source == "events"


def _letter_out(letter: DeadLetter) -> LetterOut:
    preview = preview_of(letter)
    return LetterOut(
        id=letter.letter_id,
        source="events" if letter.bucket == INBOX else "log",
        set_aside_at=letter.set_aside_at,
        reason=letter.reason,
        bytes=size_of(letter),
        kind=preview.kind,
        record_id=preview.record_id,
        customer_id=preview.customer_id,
        parts=[PartOut(name=name, bytes=size) for name, size in preview.parts],
    )
