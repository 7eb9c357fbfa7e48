"""Notes on a customer: written at the desk, read by whoever has the customer next."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from app.api.body import JsonRoute
from app.api.customers.notes_schemas import CustomerNotes, NoteBody, NoteOut, NotesQuery
from app.api.deps import State, problems
from app.api.paths import CUSTOMER_ID
from app.api.schemas import PathCustomerId, answer_of
from app.errors import Problem
from app.keys import ApiKey
from app.security import Allow
from decisioning.errors import NotFound
from profiles.privacy.store_notes import Note, NoteStore

router = APIRouter(prefix="/v1/customers", tags=["customers"], route_class=JsonRoute)

Noter = Annotated[ApiKey, Depends(Allow("agent", "ops"))]
NoteId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.get(f"/{CUSTOMER_ID}/notes", responses=problems())
async def read_customer_notes(
    customer_id: PathCustomerId, state: State, key: Noter, query: Annotated[NotesQuery, Query()]
) -> CustomerNotes:
    """The notes on a customer, the newest first, page by page. There need not be a record of the customer."""
    found = await NoteStore(state.engine).page(customer_id, query.before, query.limit + 1)
    page = found[: query.limit]
    return CustomerNotes(
        notes=[_shown(note, key) for note in page],
        next=page[-1].note_id if len(found) > query.limit else None,
    )


@router.post(f"/{CUSTOMER_ID}/notes", status_code=201, responses=problems(409, body=True))
async def add_customer_note(customer_id: PathCustomerId, body: NoteBody, state: State, key: Noter) -> NoteOut:
    """Write a note on a customer. One on a visitor who has signed in is the customer's."""
    author = key.name, key.person
    note = await NoteStore(state.engine).add(customer_id, body.text, body.reason, body.decision_id, author)
    return _shown(note, key)


@router.delete(f"/{CUSTOMER_ID}/notes/{{note_id}}", status_code=204, responses=problems(404))
async def delete_customer_note(
    customer_id: PathCustomerId, note_id: NoteId, state: State, key: Noter
) -> Response:
    """Delete a note: agents their own, the role `ops` any."""
    store = NoteStore(state.engine)
    author_id = await store.author_of(customer_id, note_id)
    if author_id is not None and key.role == "agent" and author_id != key.person:
        raise Problem(
            403, "this note is another agent's: its author, or a key of the role 'ops', may delete it"
        )
    if author_id is None or not await store.delete(note_id):
        raise NotFound("note on this customer", str(note_id))
    return Response(status_code=204)


def _shown(note: Note, key: ApiKey) -> NoteOut:
    return answer_of(NoteOut, note, mine=note.author_id == key.person)
