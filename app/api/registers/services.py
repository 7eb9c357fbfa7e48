"""Storing, finding and deleting registers, as the API and the command line share it."""

from dataclasses import asdict

from app.api.registers.schemas import RegisterBody, RegisterOut
from app.state import ApiState
from decisioning.errors import NotFound
from profiles.privacy.store_registers import KeptRegister, Register, RegisterStore
from storage.keys import ALL_PROFILES


async def store(state: ApiState, register_id: str, body: RegisterBody, author: str) -> RegisterOut:
    """Create a register, or change one, and make cached profiles be read anew.

    A process that ends behind it waits for ``state.profiles.cache.settled()`` first. Raises ``RegisterInUse`` and
    ``Unavailable``.
    """
    await RegisterStore(state.engine).put(Register(register_id, **body.model_dump()), author)
    await state.profiles.cache.bury_all(ALL_PROFILES)
    return await find(state, register_id)


async def find(state: ApiState, register_id: str) -> RegisterOut:
    """Read a register. Raises ``NotFound`` and ``PostgresUnavailable``."""
    found = await RegisterStore(state.engine).get(register_id)
    if found is None:
        raise NotFound("register", register_id)
    return register_out(found)


async def delete(state: ApiState, register_id: str, author: str, reason: str) -> bool:
    """Delete a register with all its entries; False if there is no such one. See ``store``."""
    if not await RegisterStore(state.engine).delete(register_id, author, reason):
        return False
    await state.profiles.cache.bury_all(ALL_PROFILES)
    return True


def register_out(kept: KeptRegister) -> RegisterOut:
    """Return a register as it is shown: without its salt."""
    known = asdict(kept.register)
    del known["salt"]
    return RegisterOut(**known, entries=kept.entries, author=kept.author, created_at=kept.created_at)
