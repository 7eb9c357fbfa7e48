"""Registers of persons who must not be contacted, known by salted hashes."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.body import JsonRoute
from app.api.deps import Ops, Reader, State, problems
from app.api.merge_patch import check_ids
from app.api.registers.schemas import RegisterBody, RegisterOut, RegistersOut
from app.api.registers.services import delete, find, register_out, store
from app.api.schemas import Id, ReasonQuery
from decisioning.errors import NotFound
from profiles.privacy.store_registers import RegisterStore

router = APIRouter(prefix="/v1/registers", tags=["privacy"], route_class=JsonRoute)


@router.get("", responses=problems())
async def read_registers(state: State, key: Reader) -> RegistersOut:
    """All registers, by id."""
    return RegistersOut(registers=[register_out(one) for one in await RegisterStore(state.engine).all()])


@router.put("/{register_id}", responses=problems(409, body=True))
async def put_register(register_id: Id, body: RegisterBody, state: State, key: Ops) -> RegisterOut:
    """Create a register, or change one. Its hashes are imported by `POST /v1/imports/registers`.

    What a `GET` gives can be sent back unchanged: without a `salt` the register keeps its own. While it has entries,
    what they were made of (`field`, `form`, `country_code`, `salt`) cannot be changed. It is in force when this
    answers; for a profile that was being read then, four seconds later. It is in the trail.
    """
    check_ids(body, register_id)
    return await store(state, register_id, body, key.name)


@router.get("/{register_id}", responses=problems(404))
async def read_register(register_id: Id, state: State, key: Reader) -> RegisterOut:
    """A register, without its salt and its entries."""
    return await find(state, register_id)


@router.delete("/{register_id}", status_code=204, responses=problems(404))
async def delete_register(
    register_id: Id, state: State, key: Ops, query: Annotated[ReasonQuery, Query()]
) -> Response:
    """Delete a register with all its entries: nobody is kept from being contacted by it any more.

    It is in the trail.
    """
    if not await delete(state, register_id, key.name, query.reason):
        raise NotFound("register", register_id)
    return Response(status_code=204)
