"""The state of triggers in Postgres: how far the log was followed, what is waited for, and what has fired.

All that one turn writes becomes durable with its end, all or nothing.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.model.position import StreamPosition
from decisioning.triggers.firing import Firing
from decisioning.triggers.store_firings import insert_firings, last_fired
from decisioning.triggers.waiting import Wait, WaitKey
from storage.clock import HOUR_MS, to_datetime, to_ms
from storage.locks import TRIGGERS_LOCK
from storage.postgres import transaction

MAX_LAG_MS = HOUR_MS
"""Entries of the log that triggers have not seen are kept in their streams for so long, and no longer."""

_WAITS = "SELECT trigger_id, customer_id, key, since, due_at, occasion, cause FROM trigger_waits"
_OF_CUSTOMERS = text(f"""{_WAITS} JOIN
unnest(cast(:triggers AS text[]), cast(:customers AS text[]), cast(:keys AS text[])) AS n (trigger_id, customer_id, key)
USING (trigger_id, customer_id, key)""")
_OF_ITEMS = text(f"{_WAITS} WHERE key = ANY(:items) AND key <> ''")
_DUE = text(f"{_WAITS} WHERE due_at <= :now ORDER BY due_at LIMIT :most")
_KEEP = text("""
INSERT INTO trigger_waits (trigger_id, customer_id, key, since, due_at, occasion, cause)
SELECT trigger_id, customer_id, key, since, due_at, occasion, cast(cause AS jsonb)
FROM unnest(cast(:triggers AS text[]), cast(:customers AS text[]), cast(:keys AS text[]),
    cast(:since AS timestamptz[]), cast(:due AS timestamptz[]), cast(:occasions AS text[]), cast(:causes AS text[]))
    AS new (trigger_id, customer_id, key, since, due_at, occasion, cause)
WHERE NOT EXISTS (SELECT FROM erased_customers WHERE subject = nb_subject(new.customer_id))
ON CONFLICT (trigger_id, customer_id, key) DO UPDATE SET since = excluded.since, due_at = excluded.due_at,
    occasion = excluded.occasion, cause = excluded.cause
""")
_DROP = text("""
DELETE FROM trigger_waits AS w
USING unnest(cast(:triggers AS text[]), cast(:customers AS text[]), cast(:keys AS text[])) AS n (t, c, k)
WHERE w.trigger_id = n.t AND w.customer_id = n.c AND w.key = n.k
""")
_MOVE = text("""
INSERT INTO trigger_positions SELECT * FROM unnest(cast(:buckets AS smallint[]), cast(:positions AS text[]))
ON CONFLICT (bucket) DO UPDATE SET position = excluded.position
""")
_LATER_EVENTS = text("""
SELECT DISTINCT n.place FROM unnest(cast(:places AS integer[]), cast(:customers AS text[]),
    cast(:types AS text[]), cast(:since AS timestamptz[]), cast(:ids AS text[]))
    AS n (place, customer_id, type, since, event_id)
JOIN events AS e ON e.customer_id = n.customer_id AND e.type = n.type AND e.occurred_at >= n.since
    AND e.event_id <> n.event_id
""")
_TOLD = text("""
SELECT DISTINCT decision_id || '/' || offer_id AS item, outcome FROM outcomes
WHERE decision_id = ANY(:ids) AND outcome = ANY(:outcomes)
""")
_SCANNED = text("""
INSERT INTO trigger_scans VALUES (:trigger_id, :until)
ON CONFLICT (trigger_id) DO UPDATE SET scanned_until = excluded.scanned_until
""")
_SEED = text("""
INSERT INTO trigger_waits (trigger_id, customer_id, key, since, due_at, occasion, cause)
SELECT DISTINCT ON (customer_id) :trigger_id, customer_id, '', occurred_at,
    occurred_at + cast(:after_s AS integer) * interval '1 s', 'event ' || event_id,
    jsonb_build_object('event', type, 'event_id', event_id, 'occurred_at', occurred_at)
FROM events WHERE type = ANY(:types) AND occurred_at > :since
ORDER BY customer_id, occurred_at DESC, event_id DESC
ON CONFLICT (trigger_id, customer_id, key) DO NOTHING
""")
_FORGET = (
    "DELETE FROM trigger_waits WHERE NOT trigger_id = ANY(:ids)",
    "DELETE FROM trigger_scans WHERE NOT trigger_id = ANY(:ids)",
)


class TriggerStore:
    """Keeps the state of triggers. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["TriggerTurn | None"]:
        """Hold the only right to follow the log for triggers; ``None`` if somebody else has it.

        The streams are read during the turn, so an erasure, which takes the same right, leaves nothing behind.
        """
        async with transaction(self._engine) as connection:
            mine = await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:l)"), {"l": TRIGGERS_LOCK})
            yield TriggerTurn(connection) if mine else None

    async def still_needed(self, now_ms: int) -> dict[int, StreamPosition]:
        """Read up to where the streams may be trimmed, for triggers; empty if they follow nothing."""
        async with transaction(self._engine) as connection:
            positions = await _positions(connection)
        at_least = StreamPosition(f"{now_ms - MAX_LAG_MS}-0")
        return {bucket: max(position, at_least) for bucket, position in positions.items()}


class TriggerTurn:
    """The right to change the state, within one transaction. Raises what the driver raises: ``turn`` translates it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def positions(self) -> dict[int, StreamPosition]:
        """Read up to where the log was followed; empty if it was not."""
        return await _positions(self._connection)

    async def move(self, positions: Mapping[int, StreamPosition]) -> None:
        """Note up to where it has been followed."""
        if positions:
            values = {"buckets": list(positions), "positions": list(positions.values())}
            await self._connection.execute(_MOVE, values)

    async def rest(self) -> None:
        """Forget the positions, and all that is waited for: nothing is to be followed any more."""
        await self._connection.execute(text("DELETE FROM trigger_positions"))
        await self.forget_others(())

    async def waits(self, keys: Collection[WaitKey]) -> dict[WaitKey, Wait]:
        """Read those of these waits that there are."""
        if not keys:
            return {}
        rows = await self._connection.execute(_OF_CUSTOMERS, _columns(keys))
        return {wait.key: wait for wait in map(_wait_of, rows)}

    async def waits_for(self, items: Collection[str]) -> dict[WaitKey, Wait]:
        """Read the waits that are about decided offers. ``items``: ``<decision>/<offer>``."""
        if not items:
            return {}
        rows = await self._connection.execute(_OF_ITEMS, {"items": list(items)})
        return {wait.key: wait for wait in map(_wait_of, rows)}

    async def due(self, now_ms: int, most: int) -> list[Wait]:
        """Read waits that are over, the earliest first."""
        rows = await self._connection.execute(_DUE, {"now": to_datetime(now_ms), "most": most})
        return [_wait_of(row) for row in rows]

    async def keep(self, waits: Sequence[Wait]) -> None:
        """Write waits, in the place of those with their keys."""
        if not waits:
            return
        values = _columns([wait.key for wait in waits]) | {
            "since": [to_datetime(wait.since_ms) for wait in waits],
            "due": [to_datetime(wait.due_ms) for wait in waits],
            "occasions": [wait.occasion for wait in waits],
            "causes": [to_json(dict(wait.cause)).decode() for wait in waits],
        }
        await self._connection.execute(_KEEP, values)

    async def drop(self, keys: Collection[WaitKey]) -> None:
        """Delete waits."""
        if keys:
            await self._connection.execute(_DROP, _columns(keys))

    async def later_events(self, asked: Sequence[tuple[str, str, int, str]]) -> set[int]:
        """Find in the archive who had an event since: ``asked`` is customer, type, since (Unix ms), and what not.

        Returns the places of those for whom there is one with another id than the last of the four.
        """
        if not asked:
            return set()
        customers, types, since, ids = zip(*asked, strict=True)
        values = {
            "places": list(range(len(asked))),
            "customers": list(customers),
            "types": list(types),
            "since": [to_datetime(at_ms) for at_ms in since],
            "ids": list(ids),
        }
        return {row.place for row in await self._connection.execute(_LATER_EVENTS, values)}

    async def told(self, items: Collection[str], outcomes: Collection[str]) -> set[tuple[str, str]]:
        """Find archived outcomes of decided offers: ``<decision>/<offer>`` and outcome."""
        if not items or not outcomes:
            return set()
        values = {"ids": [item.rpartition("/")[0] for item in items], "outcomes": list(outcomes)}
        return {(row.item, row.outcome) for row in await self._connection.execute(_TOLD, values)}

    async def last_fired(self, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Read when triggers fired last, as the function of this name does."""
        return await last_fired(self._connection, pairs)

    async def fire(self, firings: Sequence[Firing]) -> int:
        """Insert firings; returns how many, without those whose occasion has fired before."""
        return await insert_firings(self._connection, firings)

    async def scanned(self) -> dict[str, int]:
        """Read up to when (Unix ms) days and idle customers of each trigger have been looked for."""
        rows = await self._connection.execute(text("SELECT trigger_id, scanned_until FROM trigger_scans"))
        return {row.trigger_id: to_ms(row.scanned_until) for row in rows}

    async def scan(self, trigger_id: str, until_ms: int) -> None:
        """Note up to when they have been looked for."""
        values = {"trigger_id": trigger_id, "until": to_datetime(until_ms)}
        await self._connection.execute(_SCANNED, values)

    async def seed(self, trigger_id: str, types: Sequence[str], after_s: int, now_ms: int) -> None:
        """Begin waits of a trigger on idle customers with the last events in the archive that are recent enough."""
        since = to_datetime(now_ms - after_s * 1000)
        values = {"trigger_id": trigger_id, "types": list(types), "after_s": after_s, "since": since}
        await self._connection.execute(_SEED, values)

    async def forget_others(self, trigger_ids: Collection[str]) -> None:
        """Forget what is kept of all triggers but these."""
        for statement in _FORGET:
            await self._connection.execute(text(statement), {"ids": list(trigger_ids)})


async def _positions(connection: AsyncConnection) -> dict[int, StreamPosition]:
    rows = await connection.execute(text("SELECT bucket, position FROM trigger_positions"))
    return {row.bucket: StreamPosition(row.position) for row in rows}


def _columns(keys: Iterable[WaitKey]) -> dict[str, Any]:
    triggers, customers, names = zip(*keys, strict=True)
    return {"triggers": list(triggers), "customers": list(customers), "keys": list(names)}


def _wait_of(row: Any) -> Wait:
    key = row.trigger_id, row.customer_id, row.key
    return Wait(key, to_ms(row.since), to_ms(row.due_at), row.occasion, row.cause)
