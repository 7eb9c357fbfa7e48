"""Publishable keys in Postgres: their hash and their settings."""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.keys import IN_FORCE, KeyNotFound, hash_key, only_one
from app.publishable.settings import (
    PREFIX,
    EarlierTokens,
    PublishableKey,
    PublishableKeys,
    PublishableSettings,
    make_key,
    successor_id,
    token_checks,
)
from profiles.privacy.store_actions import note_action
from storage.failures import FailureLog
from storage.postgres import single_statement, transaction

log = logging.getLogger(__name__)

_EARLIER = TypeAdapter(list[EarlierTokens])
_STORED = "settings::text AS settings, earlier_tokens::text AS earlier, revoked_at"
_SET_TOKENS = text(f"""
UPDATE publishable_keys SET settings = jsonb_set(settings, '{{tokens}}', CAST(:tokens AS jsonb)),
    earlier_tokens = CAST(:earlier AS jsonb)
WHERE name = :name AND settings -> 'tokens' = CAST(:old AS jsonb) -> 'tokens' AND {IN_FORCE}
""")


@dataclass(frozen=True, slots=True)
class PublishableRecord:
    """A publishable key in force, as people who look after keys see it. ``ends_at``: of one that was rotated."""

    key_id: str
    name: str
    settings: PublishableSettings
    earlier: Sequence[EarlierTokens]
    ends_at: datetime | None
    created_at: datetime
    last_used_at: datetime | None


class PublishableStore:
    """Publishable keys. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._failures = FailureLog(log)
        self._made: dict[tuple[Any, ...], PublishableKey] = {}

    async def create(self, name: str, settings: PublishableSettings) -> str:
        """Make a key and return it. Raises ``ValueError`` if tokens could not be checked by the settings."""
        make_key("", name, settings)
        async with transaction(self._engine) as connection:
            return await _insert(connection, secrets.token_hex(8), name, settings.model_dump_json(), "[]")

    async def rotate(self, name: str, grace_s: float, author: str) -> tuple[str, str]:
        """Make a key that opens what one in force does, which becomes worthless after ``grace_s`` seconds.

        ``name``: the name, or the id, of one key in force; those that were rotated before do not count. ``author``: for
        the trail. Returns the new key and its id. Raises ``KeyNotFound`` if none, or more than one, is meant.
        """
        async with transaction(self._engine) as connection:
            row = await _named(connection, name)
            await connection.execute(
                text(
                    "UPDATE publishable_keys SET revoked_at = now() + make_interval(secs => :grace)"
                    " WHERE key_id = :id"
                ),
                {"grace": grace_s, "id": row.key_id},
            )
            made_id = successor_id(row.key_id)
            made = await _insert(connection, made_id, row.name, row.settings, row.earlier)
            details = {"what": "publishable key", "key_id": row.key_id, "made": made_id}
            await note_action(connection, "rotated", None, author, "", details)
        log.info("publishable key %s was rotated: %s is in its place", row.key_id, made_id)
        return made, made_id

    async def rotate_tokens(
        self, name: str, grace_s: float, author: str, public_key: str | None = None
    ) -> str | None:
        """Check tokens with another secret, or public key (PEM); with those of before for ``grace_s`` seconds more.

        ``name``, ``author``: as for ``rotate``. Keys of the same name that share the secret change with it: one was
        rotated from the other, and pages may have both. Returns the secret if one was made. Raises ``KeyNotFound`` if
        none, or more than one, is meant, or it takes no tokens, and ``ValueError`` if the public key is none.
        """
        async with transaction(self._engine) as connection:
            row = await _named(connection, name)
            settings = _settings(row.settings)
            if settings.tokens is None:
                raise KeyNotFound(
                    f"publishable key {name!r} takes no tokens: make another one by `nextbest keys publish --tokens`"
                )
            tokens, secret = token_checks(settings.tokens.audience, public_key)
            now = await connection.scalar(text("SELECT now()"))
            assert isinstance(now, datetime)
            ends_at = now + timedelta(seconds=grace_s)
            of_before = [*_earlier(row.earlier), EarlierTokens(tokens=settings.tokens, ends_at=ends_at)]
            # Without a grace nothing of before is taken, whatever was said of it then.
            kept = [EarlierTokens(tokens=one.tokens, ends_at=min(one.ends_at, ends_at)) for one in of_before]
            values = {
                "name": row.name,
                "old": row.settings,
                "tokens": tokens.model_dump_json(),
                "earlier": _EARLIER.dump_json([one for one in kept if one.ends_at > now]).decode(),
            }
            if not (await connection.execute(_SET_TOKENS, values)).rowcount:
                raise KeyNotFound(f"publishable key {name!r} is not in force any more: nothing was changed")
            details = {"what": "secret of customers' tokens", "key_id": row.key_id}
            await note_action(connection, "rotated", None, author, "", details)
        log.info("the secret of customers' tokens of publishable key %s was rotated", row.key_id)
        return secret

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
        for row in await self._rows(f"key_id, name, hash, {_STORED}"):
            known = (row.key_id, row.settings, row.earlier, row.revoked_at)
            try:
                # Reading a key in PEM takes longer than all the rest, so it is done once.
                key = self._made.get(known) or make_key(
                    row.key_id, row.name, _settings(row.settings), _earlier(row.earlier), row.revoked_at
                )
            except ValueError as error:
                self._failures.note(row.key_id, "publishable key %s is not taken: %s", row.key_id, error)
                continue
            made[known] = found[bytes(row.hash)] = key
        self._made = made
        return PublishableKeys.of(found)

    async def records(self) -> list[PublishableRecord]:
        """Read the keys in force with their dates, the oldest first."""
        rows = await self._rows(f"key_id, name, {_STORED}, created_at, last_used_at")
        return [
            PublishableRecord(
                r.key_id,
                r.name,
                _settings(r.settings),
                _earlier(r.earlier),
                r.revoked_at,
                r.created_at,
                r.last_used_at,
            )
            for r in rows
        ]

    async def _rows(self, columns: str) -> list[Any]:
        async with single_statement(self._engine) as connection:
            rows = await connection.execute(
                text(f"SELECT {columns} FROM publishable_keys WHERE {IN_FORCE} ORDER BY created_at, key_id")
            )
            return list(rows.all())


async def _named(connection: AsyncConnection, name: str) -> Any:
    """Read the one key in force that is meant, and lock it. Raises ``KeyNotFound``."""
    found = await connection.execute(
        text(
            f"SELECT key_id, name, {_STORED} FROM publishable_keys WHERE revoked_at IS NULL"
            " AND :name IN (key_id, name) ORDER BY key_id FOR UPDATE"
        ),
        {"name": name},
    )
    return only_one(name, found.all())


async def _insert(connection: AsyncConnection, key_id: str, name: str, settings: str, earlier: str) -> str:
    """Store a new key, and return it."""
    key = PREFIX + secrets.token_urlsafe(24)
    await connection.execute(
        text(
            "INSERT INTO publishable_keys (key_id, name, hash, settings, earlier_tokens)"
            " VALUES (:id, :name, :hash, CAST(:settings AS jsonb), CAST(:earlier AS jsonb))"
        ),
        {"id": key_id, "name": name, "hash": hash_key(key), "settings": settings, "earlier": earlier},
    )
    return key


def _earlier(stored: str) -> list[EarlierTokens]:
    return _EARLIER.validate_json(stored)


def _settings(stored: str) -> PublishableSettings:
    return PublishableSettings.model_validate_json(stored)
