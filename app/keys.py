"""API keys: made once, stored as a hash, checked in memory."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.postgres import transaction

Role = Literal["frontend", "ops", "scientist", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The owner of a key and the role. The key itself is known to its owner only."""

    key_id: str
    name: str
    role: Role


def hash_key(key: str) -> bytes:
    """Hash a key to the form that is stored."""
    # A key is 32 random bytes: there is nothing to guess that a slow hash would slow down.
    return hashlib.sha256(key.encode()).digest()


class KeyStore:
    """Keys in Postgres. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, role: Role, name: str) -> str:
        """Make a key. It is returned this once: only its hash is stored."""
        key = f"nb_{role}_{secrets.token_urlsafe(32)}"
        async with transaction(self._engine) as connection:
            await connection.execute(
                text("INSERT INTO api_keys (key_id, name, role, hash) VALUES (:id, :name, :role, :hash)"),
                {"id": secrets.token_hex(8), "name": name, "role": role, "hash": hash_key(key)},
            )
        return key

    async def revoke(self, key_id: str) -> bool:
        """Make a key worthless. Return False if there is no such key in force."""
        async with transaction(self._engine) as connection:
            result = await connection.execute(
                text("UPDATE api_keys SET revoked_at = now() WHERE key_id = :id AND revoked_at IS NULL"),
                {"id": key_id},
            )
            return result.rowcount == 1

    async def load(self) -> Mapping[bytes, ApiKey]:
        """Load all keys in force, by their hash."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(
                text("SELECT key_id, name, role, hash FROM api_keys WHERE revoked_at IS NULL")
            )
            return {bytes(row.hash): ApiKey(row.key_id, row.name, row.role) for row in rows}
