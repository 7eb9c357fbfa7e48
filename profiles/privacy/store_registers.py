"""Registers of persons who must not be contacted, known by salted hashes only.

A person's value (the id, or an attribute such as the telephone number) is brought into one form, salted and hashed when
the profile is read, and looked up among the hashes of each register: by ``nb_registered`` in Postgres.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from profiles.errors import RegisterInUse, SaltMissing
from storage.postgres import transaction

ValueForm = Literal["id", "email", "phone"]
WithoutValue = Literal["suppress", "pass"]

_COLUMNS = "register_id, field, form, country_code, salt, without_value, reason"
_PUT = text(f"""
INSERT INTO registers AS r ({_COLUMNS}, author)
VALUES (:register_id, :field, :form, :country_code, :salt, :without_value, :reason, :author)
ON CONFLICT (register_id) DO UPDATE SET field = excluded.field, form = excluded.form,
    country_code = excluded.country_code, salt = excluded.salt, without_value = excluded.without_value,
    reason = excluded.reason, author = excluded.author
WHERE (r.field, r.form, r.salt, coalesce(r.country_code, ''))
    = (excluded.field, excluded.form, excluded.salt, coalesce(excluded.country_code, ''))
    OR NOT EXISTS (SELECT FROM register_entries AS e WHERE e.register_id = r.register_id)
RETURNING register_id
""")
_READ = """
SELECT register_id, field, form, country_code, salt, without_value, reason, author, created_at,
    (SELECT count(*) FROM register_entries AS e WHERE e.register_id = r.register_id) AS entries
FROM registers AS r {where} ORDER BY register_id
"""
_SALT = text("SELECT salt FROM registers WHERE register_id = :register_id FOR UPDATE")
_DELETE = text("DELETE FROM registers WHERE register_id = :register_id")


@dataclass(frozen=True, slots=True)
class Register:
    """A register: what of a customer is looked up in it, and how its hashes were made.

    ``field``: ``customer_id`` or the name of an attribute. ``form``: how a value is normalised; ``country_code``: of
    telephone numbers that have none. ``without_value``: what becomes of a customer whose record lacks the attribute.
    ``salt``: ``None`` if the one that is stored is to be kept.
    """

    register_id: str
    field: str
    form: ValueForm
    salt: str | None
    reason: str
    country_code: str | None = None
    without_value: WithoutValue = "suppress"


@dataclass(frozen=True, slots=True)
class KeptRegister:
    """A register as it is kept, with the number of its entries."""

    register: Register
    author: str
    created_at: datetime
    entries: int


@dataclass(frozen=True, slots=True)
class RegisterStore:
    """Registers in Postgres. Methods raise ``PostgresUnavailable``."""

    engine: AsyncEngine

    async def put(self, register: Register, author: str) -> None:
        """Create or change a register.

        Raises ``RegisterInUse`` for a change by which its hashes would fit no more, and ``SaltMissing``.
        """
        async with transaction(self.engine) as connection:
            register = await _with_salt(connection, register)
            stored = await connection.scalar(_PUT, asdict(register) | {"author": author})
        if stored is None:
            raise RegisterInUse(register.register_id)

    async def all(self) -> list[KeptRegister]:
        """Read all registers, by id."""
        return await self._read("")

    async def get(self, register_id: str) -> KeptRegister | None:
        """Read a register; ``None`` if there is no such one."""
        found = await self._read("WHERE register_id = :register_id", register_id=register_id)
        return found[0] if found else None

    async def _read(self, where: str, **values: Any) -> list[KeptRegister]:
        async with transaction(self.engine) as connection:
            rows = (await connection.execute(text(_READ.format(where=where)), values)).all()
        return [_kept(dict(row._mapping)) for row in rows]

    async def delete(self, register_id: str) -> bool:
        """Delete a register with all its entries; False if there is no such one."""
        async with transaction(self.engine) as connection:
            deleted = await connection.execute(_DELETE, {"register_id": register_id})
        return bool(deleted.rowcount)


async def _with_salt(connection: AsyncConnection, register: Register) -> Register:
    """Fill in the salt that is stored where none is given. Raises ``SaltMissing`` if there is none."""
    if register.salt is not None:
        return register
    salt = await connection.scalar(_SALT, {"register_id": register.register_id})
    if salt is None:
        raise SaltMissing(register.register_id)
    return replace(register, salt=salt)


def _kept(row: dict[str, Any]) -> KeptRegister:
    author, created_at, entries = row.pop("author"), row.pop("created_at"), row.pop("entries")
    return KeptRegister(Register(**row), author, created_at, entries)
