"""API keys: made once, stored as a hash, checked in memory."""

import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.errors import PostgresUnavailable
from storage.postgres import single_statement, transaction

Role = Literal["frontend", "agent", "ops", "scientist", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

PERSON = "person:"
"""How the ids of people begin whom a provider vouches for; keys that are stored have others."""
IN_FORCE = "(revoked_at IS NULL OR revoked_at > now())"
USE_NOTED_EVERY_S = 60.0


class KeyNotFound(LookupError):
    """No key, or more than one, is meant."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The owner of a key and the role. The key itself is known to its owner only."""

    key_id: str
    name: str
    role: Role
    ends_at: datetime | None = None
    """When a key that was rotated becomes worthless."""

    @property
    def is_signed_in(self) -> bool:
        """True for a person whom a provider vouches for."""
        return self.key_id.startswith(PERSON)

    @property
    def person(self) -> str:
        """The person who acts with it: a provider's id of a person, or else the name, which keys of one owner share."""
        return self.key_id if self.is_signed_in else f"key:{self.name}"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key in force, as people who look after keys see it."""

    key: ApiKey
    created_at: datetime
    last_used_at: datetime | None


def hash_key(key: str) -> bytes:
    """Hash a key to the form that is stored."""
    # A key is 32 random bytes: there is nothing to guess that a slow hash would slow down.
    return hashlib.sha256(key.encode()).digest()


def only_one(name: str, rows: Sequence[Any]) -> Any:
    """Return the one row of a key that ``name`` means. Raises ``KeyNotFound`` if there is none, or more."""
    if not rows:
        raise KeyNotFound(f"there is no key {name!r} in force; see `nextbest keys list`")
    if len(rows) > 1:
        ids = ", ".join(row.key_id for row in rows)
        raise KeyNotFound(f"{len(rows)} keys have the name {name!r}: name one by its id ({ids})")
    return rows[0]


class KeyStore:
    """Keys in Postgres. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, role: Role, name: str) -> str:
        """Make a key. It is returned this once: only its hash is stored."""
        async with transaction(self._engine) as connection:
            return await self._insert(connection, role, name)

    @staticmethod
    async def _insert(connection: AsyncConnection, role: Role, name: str) -> str:
        key = f"nb_{role}_{secrets.token_urlsafe(32)}"
        await connection.execute(
            text("INSERT INTO api_keys (key_id, name, role, hash) VALUES (:id, :name, :role, :hash)"),
            {"id": secrets.token_hex(8), "name": name, "role": role, "hash": hash_key(key)},
        )
        return key

    async def revoke(self, key_id: str) -> bool:
        """Make a key worthless. Return False if there is no such key in force."""
        async with transaction(self._engine) as connection:
            result = await connection.execute(
                text(f"UPDATE api_keys SET revoked_at = now() WHERE key_id = :id AND {IN_FORCE}"),
                {"id": key_id},
            )
            return result.rowcount == 1

    async def rotate(self, name: str, grace_s: float) -> str:
        """Make a key of the same name and role as one in force, which becomes worthless after ``grace_s`` seconds.

        ``name``: the name, or the id, of one key in force; those that were rotated before do not count. Raises
        ``KeyNotFound`` if none, or more than one, is meant.
        """
        # Processes of earlier versions know no revocation that is to come: there the old key is worthless at once.
        async with transaction(self._engine) as connection:
            found = await connection.execute(
                text(
                    "SELECT key_id, name, role FROM api_keys WHERE revoked_at IS NULL"
                    " AND :name IN (key_id, name) ORDER BY key_id FOR UPDATE"
                ),
                {"name": name},
            )
            row = only_one(name, found.all())
            await connection.execute(
                text(
                    "UPDATE api_keys SET revoked_at = now() + make_interval(secs => :grace) WHERE key_id = :id"
                ),
                {"grace": grace_s, "id": row.key_id},
            )
            return await self._insert(connection, row.role, row.name)

    async def load(self) -> Mapping[bytes, ApiKey]:
        """Load all keys in force, by their hash."""
        async with single_statement(self._engine) as connection:
            rows = await connection.execute(
                text(f"SELECT key_id, name, role, revoked_at, hash FROM api_keys WHERE {IN_FORCE}")
            )
            return {bytes(r.hash): ApiKey(r.key_id, r.name, r.role, r.revoked_at) for r in rows}

    async def records(self) -> list[KeyRecord]:
        """Read the keys in force with their dates, the oldest first."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(
                text(
                    "SELECT key_id, name, role, revoked_at, created_at, last_used_at FROM api_keys"
                    f" WHERE {IN_FORCE} ORDER BY created_at, key_id"
                )
            )
            return [
                KeyRecord(ApiKey(r.key_id, r.name, r.role, r.revoked_at), r.created_at, r.last_used_at)
                for r in rows
            ]

    async def note_use(self, key_ids: Collection[str]) -> None:
        """Note that keys were used just now; what was noted within the last minute stays as it is."""
        async with transaction(self._engine) as connection:
            for table in ("api_keys", "publishable_keys"):
                await connection.execute(
                    text(
                        f"UPDATE {table} SET last_used_at = now() WHERE key_id = ANY(:ids)"
                        " AND (last_used_at IS NULL OR last_used_at <= now() - interval '1 minute')"
                    ),
                    {"ids": list(key_ids)},
                )


class KeyUse:
    """The keys that requests to this process used, noted in Postgres at most once a minute each."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.used: set[str] = set()
        """Ids of keys; requests add theirs, which is all that they do about it."""
        self._noted_s: dict[str, float] = {}
        self._clock_s = clock_s

    async def note(self, store: KeyStore) -> None:
        """Note what was used since the last call; if that raises ``PostgresUnavailable``, the next call does."""
        now_s, used = self._clock_s(), set(self.used)
        self.used -= used
        # Those that are not due are noted with a later use.
        due = {key for key in used if now_s - self._noted_s.get(key, -USE_NOTED_EVERY_S) >= USE_NOTED_EVERY_S}
        if not due:
            return
        try:
            await store.note_use(due)
        except PostgresUnavailable:
            self.used |= due
            raise
        self._noted_s |= dict.fromkeys(due, now_s)


def in_force(keys: Mapping[bytes, ApiKey], now: datetime) -> Mapping[bytes, ApiKey]:
    """Leave out keys whose time is over, also while Postgres cannot be asked."""
    if all(key.ends_at is None or key.ends_at > now for key in keys.values()):
        return keys
    return {digest: key for digest, key in keys.items() if key.ends_at is None or key.ends_at > now}
