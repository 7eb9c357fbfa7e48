"""Publishable keys in Postgres: their hash and their settings."""

import logging
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.keys import IN_FORCE, hash_key
from app.publishable.settings import PREFIX, PublishableKey, PublishableKeys, PublishableSettings, make_key
from storage.failures import FailureLog
from storage.postgres import transaction

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishableRecord:
    """A publishable key in force, as people who look after keys see it."""

    key_id: str
    name: str
    settings: PublishableSettings
    created_at: datetime
    last_used_at: datetime | None


class PublishableStore:
    """Publishable keys. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._failures = FailureLog(log)
        self._made: dict[tuple[str, str], PublishableKey] = {}

    async def create(self, name: str, settings: PublishableSettings) -> str:
        """Make a key and return it. Raises ``ValueError`` if tokens could not be checked by the settings."""
        key, key_id = PREFIX + secrets.token_urlsafe(24), secrets.token_hex(8)
        make_key(key_id, name, settings)
        async with transaction(self._engine) as connection:
            await connection.execute(
                text(
                    "INSERT INTO publishable_keys (key_id, name, hash, settings)"
                    " VALUES (:id, :name, :hash, CAST(:settings AS jsonb))"
                ),
                {"id": key_id, "name": name, "hash": hash_key(key), "settings": settings.model_dump_json()},
            )
        return key

    async def revoke(self, key_id: str) -> bool:
        """Make a key worthless. Return False if there is no such key in force."""
        async with transaction(self._engine) as connection:
            result = await connection.execute(
                text(f"UPDATE publishable_keys SET revoked_at = now() WHERE key_id = :id AND {IN_FORCE}"),
                {"id": key_id},
            )
            return result.rowcount == 1

    async def load(self) -> PublishableKeys:
        """Load all keys in force. One that this build cannot use is left out, and logged."""
        found, made = {}, {}
        for row in await self._rows("key_id, name, hash, settings::text AS settings"):
            known = (row.key_id, row.settings)
            try:
                # Reading a key in PEM takes longer than all the rest, so it is done once.
                key = self._made.get(known) or make_key(row.key_id, row.name, _settings(row.settings))
            except ValueError as error:
                self._failures.note(row.key_id, "publishable key %s is not taken: %s", row.key_id, error)
                continue
            made[known] = found[bytes(row.hash)] = key
        self._made = made
        return PublishableKeys.of(found)

    async def records(self) -> list[PublishableRecord]:
        """Read the keys in force with their dates, the oldest first."""
        rows = await self._rows("key_id, name, settings::text AS settings, created_at, last_used_at")
        return [
            PublishableRecord(r.key_id, r.name, _settings(r.settings), r.created_at, r.last_used_at)
            for r in rows
        ]

    async def _rows(self, columns: str) -> list[Any]:
        async with transaction(self._engine) as connection:
            rows = await connection.execute(
                text(f"SELECT {columns} FROM publishable_keys WHERE {IN_FORCE} ORDER BY created_at, key_id")
            )
            return list(rows.all())


def _settings(stored: str) -> PublishableSettings:
    return PublishableSettings.model_validate_json(stored)
