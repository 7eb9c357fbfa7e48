"""Registers of persons who must not be contacted, known by salted hashes only.

A person's value (the id, or an attribute such as the telephone number) is brought into one form, salted and hashed when
the profile is read, and looked up among the hashes of each register: by ``nb_registered`` in Postgres.

Each change of a register is in the trail, with the names of what was changed.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.errors import RegisterInUse, SaltMissing
from profiles.privacy.store_actions import note_action
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
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('register ' || :register_id, 0))")
_LOCK = text(f"SELECT {_COLUMNS} FROM registers WHERE register_id = :register_id FOR UPDATE")
_DELETE = text("""
DELETE FROM registers AS r WHERE register_id = :register_id
RETURNING (SELECT count(*) FROM register_entries AS e WHERE e.register_id = r.register_id)
""")


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
        """Create or change a register; without a salt it keeps its own.

        ``author`` is kept with it, and in the trail, which has no entry if nothing was changed. Raises
        ``RegisterInUse`` for a change by which its hashes would fit no more, and ``SaltMissing``.
        """
        async with transaction(self.engine) as connection:
            # A register that there is not has no row to be locked: of two who make it, one would lose its salt.
            await connection.execute(_ONE_AT_A_TIME, {"register_id": register.register_id})
            row = (await connection.execute(_LOCK, {"register_id": register.register_id})).one_or_none()
            before = {} if row is None else dict(row._mapping)
            values = asdict(register)
            if register.salt is None:
                if row is None:
                    raise SaltMissing(register.register_id)
                values["salt"] = before["salt"]
            if await connection.scalar(_PUT, values | {"author": author}) is None:
                raise RegisterInUse(register.register_id)
            changed = sorted(name for name in before if before[name] != values[name])
            if row is None or changed:
                details = {"register": register.register_id, "new": row is None, "changed": changed}
                await note_action(connection, "register_stored", None, author, "", details)

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

    async def delete(self, register_id: str, author: str, reason: str = "") -> bool:
        """Delete a register with all its entries; False if there is no such one. The trail has their number."""
        async with transaction(self.engine) as connection:
            entries = await connection.scalar(_DELETE, {"register_id": register_id})
            if entries is not None:
                details = {"register": register_id, "entries": entries}
                await note_action(connection, "register_deleted", None, author, reason, details)
        return entries is not None


def _kept(row: dict[str, Any]) -> KeptRegister:
    author, created_at, entries = row.pop("author"), row.pop("created_at"), row.pop("entries")
    return KeptRegister(Register(**row), author, created_at, entries)
