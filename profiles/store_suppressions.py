"""Suppression lists in Postgres. A change is in force at once: it goes through the tombstones of the profile cache.

Each change is in the trail: who made it, and of which list, without the customer's id and the words of the reason.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from profiles.customer import OfferScope, scope_fields
from profiles.customer_id import checked_id
from profiles.errors import InvalidCustomer
from profiles.limits import id_problem, text_problem
from profiles.privacy.store_actions import note_action
from profiles.store import LOCK_ALIASES, READ_TIMEOUT_S, STANDS_FOR, WRITE_TIMEOUT_S
from profiles.store_cache import ProfileCache
from storage.postgres import postgres_errors

_PUT = text("""
INSERT INTO suppressions AS s (list_id, customer_id, reason, until, scope, reason_id)
VALUES (:list_id, :customer_id, :reason, :until, CAST(:scope AS jsonb), :reason_id)
ON CONFLICT (list_id, customer_id) DO UPDATE SET reason = excluded.reason, until = excluded.until,
    scope = excluded.scope, reason_id = excluded.reason_id
WHERE (s.reason, s.until, s.scope, s.reason_id)
    IS DISTINCT FROM (excluded.reason, excluded.until, excluded.scope, excluded.reason_id)
RETURNING xmax = 0 AS is_new
""")
# Where both are on a list, one entry is made of both, which keeps as much from the customer as either: scopes cannot be
# added up, so two that differ become everything. What has ended keeps nothing from anybody.
_MOVE = text("""
WITH moved AS (DELETE FROM suppressions WHERE customer_id = :alias RETURNING *)
INSERT INTO suppressions AS s (list_id, customer_id, reason, until, added_at, scope, reason_id)
SELECT list_id, :customer_id, reason, until, added_at, scope, reason_id FROM moved
WHERE until IS NULL OR until > now()
ON CONFLICT (list_id, customer_id) DO UPDATE SET
    reason = CASE WHEN s.until <= now() THEN excluded.reason ELSE s.reason END,
    reason_id = CASE WHEN s.until <= now() THEN excluded.reason_id ELSE s.reason_id END,
    until = CASE WHEN s.until IS NOT NULL AND excluded.until IS NOT NULL THEN greatest(s.until, excluded.until) END,
    scope = CASE WHEN s.until <= now() OR s.scope = excluded.scope THEN excluded.scope END
""")
_ENTRIES = """
SELECT list_id, customer_id, reason, until, added_at, scope::text AS scope, reason_id FROM suppressions
WHERE {one} = :name AND (cast(:after AS text) IS NULL OR {other} > :after) ORDER BY {other} LIMIT :limit
"""
_OF_LIST = text(_ENTRIES.format(one="list_id", other="customer_id"))
_OF_CUSTOMER = text(_ENTRIES.format(one="customer_id", other="list_id"))
_DELETE = text("DELETE FROM suppressions WHERE list_id = :list_id AND customer_id = :customer_id")


@dataclass
class SuppressionStore:
    """Puts customers on suppression lists and takes them off; with or without a record of the customer."""

    engine: AsyncEngine
    cache: ProfileCache

    async def put(
        self,
        list_id: str,
        customer_id: str,
        reason: str,
        until: datetime | None,
        scope: OfferScope | None = None,
        reason_id: str | None = None,
        *,
        author: str,
    ) -> str:
        """Put a customer on a list, or change the entry. ``until`` (with a time zone) is when it ends, if ever.

        ``scope``: the offers that it is about, all if ``None``. ``reason_id``: a reason of the catalogue. ``author``:
        who does it, for the trail, which has no entry if nothing was changed.

        Returns whose entry it is: of a visitor who was merged, the customer's. When this returns, no decision is made
        without it. Raises ``InvalidCustomer``, and ``Unavailable``, after which the call may be repeated.
        """
        for field, problem in (("list_id", id_problem(list_id)), ("reason", text_problem(reason))):
            if problem:
                raise InvalidCustomer(field, problem)
        customer_id = checked_id(customer_id)
        values = {"list_id": list_id, "reason": reason, "until": until, "reason_id": reason_id}
        values |= {"scope": None if scope is None else to_json(scope_fields(scope)).decode()}
        async with (
            AsyncExitStack() as guarded,
            postgres_errors("store the suppression in Postgres"),
            asyncio.timeout(WRITE_TIMEOUT_S),
            self.engine.begin() as connection,
        ):
            await connection.execute(LOCK_ALIASES)
            owner = str(await connection.scalar(STANDS_FOR, {"customer_id": customer_id}))
            await guarded.enter_async_context(self.cache.changing([owner]))
            is_new = await connection.scalar(_PUT, values | {"customer_id": owner})
            if is_new is not None:
                details = {"list": list_id, "new": is_new, "ends": until is not None, "all": scope is None}
                await note_action(connection, "suppressed", owner, author, "", details)
        return owner

    async def of_list(self, list_id: str, after: str | None, limit: int) -> list[Any]:
        """Read entries of a list by customer, behind the customer ``after``. Raises ``PostgresUnavailable``."""
        return await self._entries(_OF_LIST, list_id, after, limit)

    async def of_customer(self, customer_id: str, after: str | None, limit: int) -> list[Any]:
        """Read a customer's entries by list, behind the list ``after``. Raises ``PostgresUnavailable``."""
        return await self._entries(_OF_CUSTOMER, customer_id, after, limit)

    async def _entries(self, query: TextClause, name: str, after: str | None, limit: int) -> list[Any]:
        async with (
            postgres_errors("read the suppressions from Postgres"),
            asyncio.timeout(READ_TIMEOUT_S),
            self.engine.connect() as connection,
        ):
            values = {"name": name, "after": after, "limit": limit}
            return list(await connection.execute(query, values))

    async def delete(self, list_id: str, customer_id: str, *, author: str, reason: str = "") -> bool:
        """Take a customer off a list; False if there was no such entry. Raises ``Unavailable``.

        ``author`` and ``reason`` are for the trail. Of a visitor who was merged, the customer is taken off it.
        """
        # What cannot be stored is not there.
        try:
            customer_id = checked_id(customer_id)
        except InvalidCustomer:
            return False
        if id_problem(list_id):
            return False
        async with (
            AsyncExitStack() as guarded,
            postgres_errors("remove the suppression from Postgres"),
            asyncio.timeout(WRITE_TIMEOUT_S),
            self.engine.begin() as connection,
        ):
            await connection.execute(LOCK_ALIASES)
            owner = str(await connection.scalar(STANDS_FOR, {"customer_id": customer_id}))
            await guarded.enter_async_context(self.cache.changing([owner]))
            result = await connection.execute(_DELETE, {"list_id": list_id, "customer_id": owner})
            if result.rowcount:
                await note_action(connection, "unsuppressed", owner, author, reason, {"list": list_id})
            return bool(result.rowcount)


async def move_suppressions(connection: AsyncConnection, merged: Mapping[str, str]) -> None:
    """Put customers on the lists that visitors are on, and take these off; in the transaction that has the aliases.

    ``merged``: the customers, by visitor.
    """
    values = [{"alias": alias, "customer_id": customer_id} for alias, customer_id in sorted(merged.items())]
    if values:
        await connection.execute(_MOVE, values)
