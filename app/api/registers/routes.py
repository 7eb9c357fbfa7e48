"""Registers of persons who must not be contacted, known by salted hashes."""

from dataclasses import asdict

from fastapi import APIRouter, Response

from app.api.body import JsonRoute
from app.api.deps import Ops, Reader, State, problems
from app.api.merge_patch import check_ids
from app.api.registers.schemas import RegisterBody, RegisterOut, RegistersOut
from app.api.schemas import Id
from decisioning.errors import NotFound
from profiles.privacy.store_registers import KeptRegister, Register, RegisterStore
from storage.keys import ALL_PROFILES

router = APIRouter(prefix="/v1/registers", tags=["privacy"], route_class=JsonRoute)


@router.get("", responses=problems())
async def read_registers(state: State, key: Reader) -> RegistersOut:
    """All registers, by id."""
    return RegistersOut(registers=[_register_out(one) for one in await RegisterStore(state.engine).all()])


@router.put("/{register_id}", responses=problems(409, body=True))
async def put_register(register_id: Id, body: RegisterBody, state: State, key: Ops) -> RegisterOut:
    """Create a register, or change one. Its hashes are imported by `POST /v1/imports/registers`.

    What a `GET` gives can be sent back unchanged: without a `salt` the register keeps its own. While it has entries,
    what they were made of (`field`, `form`, `country_code`, `salt`) cannot be changed. It is in force when this
    answers; for a profile that was being read then, four seconds later.
    """
    check_ids(body, register_id)
    store = RegisterStore(state.engine)
    await store.put(Register(register_id, **body.model_dump()), key.name)
    await state.profiles.cache.bury_all(ALL_PROFILES)
    return await _read(store, register_id)


@router.get("/{register_id}", responses=problems(404))
async def read_register(register_id: Id, state: State, key: Reader) -> RegisterOut:
    """A register, without its salt and its entries."""
    return await _read(RegisterStore(state.engine), register_id)


@router.delete("/{register_id}", status_code=204, responses=problems(404))
async def delete_register(register_id: Id, state: State, key: Ops) -> Response:
    """Delete a register with all its entries: nobody is kept from being contacted by it any more."""
    if not await RegisterStore(state.engine).delete(register_id):
        raise NotFound("register", register_id)
    await state.profiles.cache.bury_all(ALL_PROFILES)
    return Response(status_code=204)


async def _read(store: RegisterStore, register_id: str) -> RegisterOut:
    found = await store.get(register_id)
    if found is None:
        raise NotFound("register", register_id)
    return _register_out(found)


def _register_out(kept: KeptRegister) -> RegisterOut:
    known = asdict(kept.register)
    del known["salt"]
    return RegisterOut(**known, entries=kept.entries, author=kept.author, created_at=kept.created_at)
