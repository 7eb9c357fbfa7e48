"""Suppression lists: registers and other reasons not to contact a customer."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.body import JsonRoute
from app.api.deps import Ops, Reader, State, problems
from app.api.paths import CUSTOMER_ID
from app.api.schemas import Id, PathCustomerId, ReasonQuery, answer_of
from app.api.suppressions.schemas import (
    EntriesQuery,
    SuppressionBody,
    SuppressionEntries,
    SuppressionEntry,
    SuppressionStored,
)
from app.api.suppressions.services import suppress
from decisioning.errors import NotFound

router = APIRouter(prefix="/v1/suppressions", tags=["customers"], route_class=JsonRoute)


@router.put(f"/{{list_id}}/{CUSTOMER_ID}", responses=problems(body=True))
async def put_suppression(
    list_id: Id, customer_id: PathCustomerId, body: SuppressionBody, state: State, key: Ops
) -> SuppressionStored:
    """Put a customer on a list, or change the entry. There need not be a record of the customer.

    While it is in force the customer gets transactional offers on the basis of a contract or a legal obligation, and
    nothing else; with a `scope`, nothing else of that. When this answers, no decision is made without it. It is in the
    trail.
    """
    owner = await suppress(state, list_id, customer_id, body, key.name)
    return SuppressionStored(list_id=list_id, customer_id=owner)


@router.get("/{list_id}", responses=problems())
async def read_suppressions(
    list_id: Id, state: State, key: Reader, query: Annotated[EntriesQuery, Query()]
) -> SuppressionEntries:
    """The customers on a list, by id, page by page; ended entries too. A list that nobody is on is empty."""
    found = await state.suppressions.of_list(list_id, query.after, query.limit + 1)
    shown = found[: query.limit]
    return SuppressionEntries(
        entries=[answer_of(SuppressionEntry, entry) for entry in shown],
        next=shown[-1].customer_id if len(found) > query.limit else None,
    )


@router.delete(f"/{{list_id}}/{CUSTOMER_ID}", status_code=204, responses=problems(404))
async def delete_suppression(
    list_id: Id,
    customer_id: PathCustomerId,
    state: State,
    key: Ops,
    query: Annotated[ReasonQuery, Query()],
) -> Response:
    """Take a customer off a list. It is in the trail."""
    if not await state.suppressions.delete(list_id, customer_id, author=key.name, reason=query.reason):
        raise NotFound("suppression", f"{list_id}/{customer_id}")
    return Response(status_code=204)
