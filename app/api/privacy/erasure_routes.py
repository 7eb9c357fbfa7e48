"""Erasing a person, and letting one in again."""

from fastapi import APIRouter, Response

from app.api.body import JsonRoute
from app.api.deps import Ops, State, problems
from app.api.paths import CUSTOMER_ID
from app.api.privacy.schemas import ErasureBody, ErasureOut
from app.api.privacy.services import eraser_of, erasures_of
from app.api.schemas import PathCustomerId, answer_of
from decisioning.errors import NotFound

router = APIRouter(prefix="/v1", tags=["privacy"], route_class=JsonRoute)


@router.post(f"/customers/{CUSTOMER_ID}/erase", responses=problems(body=True))
async def erase_person(customer_id: PathCustomerId, body: ErasureBody, state: State, key: Ops) -> ErasureOut:
    """Erase a person: profile, lists and contacts are deleted, and the log goes on under a random pseudonym.

    Reports, learning and replays stay as they are. It may be repeated, and has to be after a 503. Folders that somebody
    exported to on the command line are not touched: those that may have the person are named.
    """
    erased = await (await eraser_of(state)).erase(customer_id, key.name, body.reason, keep_out=body.keep_out)
    return answer_of(ErasureOut, erased, export_folders=erased.folders, **erased.counts)


@router.delete(f"/customers/{CUSTOMER_ID}/erasure", status_code=204, responses=problems(404))
async def readmit_person(customer_id: PathCustomerId, state: State, key: Ops) -> Response:
    """Let the id of somebody who was erased be stored again: a person who comes back by their own wish."""
    if not await erasures_of(state).readmit(customer_id, key.name, ""):
        raise NotFound("erasure that keeps out customer", customer_id)
    return Response(status_code=204)
