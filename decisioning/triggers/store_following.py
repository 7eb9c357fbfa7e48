"""The state of triggers in Postgres: how far the log was followed, what is waited for, and what has fired.

All that one turn writes becomes durable with its end, all or nothing.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.model.position import StreamPosition
from decisioning.model.trigger import Trigger
from decisioning.triggers.event_days import MAX_NAME_BYTES, Subject
from decisioning.triggers.firing import Firing
from decisioning.triggers.store_firings import NAMES, insert_firings, last_fired
from decisioning.triggers.waiting import Wait, WaitKey
from storage.clock import HOUR_MS, to_datetime, to_ms
from storage.locks import TRIGGER_SEEDS_LOCK, TRIGGERS_LOCK
from storage.postgres import transaction

MAX_LAG_MS = HOUR_MS
"""Entries of the log that triggers have not seen are kept in their streams for so long, and no longer."""

# What began before its trigger was removed counts no more, though there may be one of this name again.
_OUTLIVED = """EXISTS (
    SELECT FROM catalog_entries AS e
    WHERE e.kind = 'trigger' AND e.id = w.trigger_id AND e.body IS NULL AND e.version > w.version
)"""
_WAITS = "SELECT trigger_id, customer_id, key, since, due_at, occasion, cause FROM trigger_waits AS w"
_OF_CUSTOMERS = text(f"""{_WAITS} JOIN
unnest(cast(:triggers AS text[]), cast(:customers AS text[]), cast(:keys AS text[])) AS n (trigger_id, customer_id, key)
USING (trigger_id, customer_id, key) WHERE NOT {_OUTLIVED}""")
_OF_ITEMS = text(f"{_WAITS} WHERE key = ANY(:items) AND key <> '' AND NOT {_OUTLIVED}")
_STAND_FOR = text("""
WITH RECURSIVE chain AS (
    SELECT alias AS name, customer_id, 1 AS steps FROM aliases WHERE alias = ANY(:customers)
    UNION ALL SELECT c.name, a.customer_id, c.steps + 1 FROM chain AS c JOIN aliases AS a ON a.alias = c.customer_id
) SELECT DISTINCT ON (name) name, customer_id FROM chain ORDER BY name, steps DESC
""")
# Of two waits for the same the later one stays, which the events of both together would have made.
_OF_ALIASES = text(f"""
WITH RECURSIVE {NAMES}, moved AS (
    DELETE FROM trigger_waits AS w USING names WHERE w.customer_id = names.name AND names.name <> names.customer_id
    RETURNING w.trigger_id, names.customer_id, w.key, w.since, w.due_at, w.occasion, w.cause, w.version
)
INSERT INTO trigger_waits AS w (trigger_id, customer_id, key, since, due_at, occasion, cause, version)
SELECT DISTINCT ON (trigger_id, customer_id, key) * FROM moved AS w WHERE NOT {_OUTLIVED}
ORDER BY trigger_id, customer_id, key, since DESC
ON CONFLICT (trigger_id, customer_id, key) DO UPDATE SET since = excluded.since, due_at = excluded.due_at,
    occasion = excluded.occasion, cause = excluded.cause, version = excluded.version
    WHERE excluded.since > w.since OR {_OUTLIVED}
""")
_DUE = text(f"{_WAITS} WHERE due_at <= :now AND NOT {_OUTLIVED} ORDER BY due_at LIMIT :most")
_KEEP = text("""
INSERT INTO trigger_waits (trigger_id, customer_id, key, since, due_at, occasion, cause, version)
SELECT trigger_id, customer_id, key, since, due_at, occasion, cast(cause AS jsonb), :version
FROM unnest(cast(:triggers AS text[]), cast(:customers AS text[]), cast(:keys AS text[]),
    cast(:since AS timestamptz[]), cast(:due AS timestamptz[]), cast(:occasions AS text[]), cast(:causes AS text[]))
    AS new (trigger_id, customer_id, key, since, due_at, occasion, cause)
WHERE NOT EXISTS (SELECT FROM erased_customers WHERE subject = nb_subject(new.customer_id))
ON CONFLICT (trigger_id, customer_id, key) DO UPDATE SET since = excluded.since, due_at = excluded.due_at,
    occasion = excluded.occasion, cause = excluded.cause, version = excluded.version
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
_LATER_EVENTS = text(f"""
WITH RECURSIVE {NAMES} SELECT DISTINCT n.place FROM unnest(cast(:places AS integer[]), cast(:customers AS text[]),
    cast(:types AS text[]), cast(:since AS timestamptz[]), cast(:ids AS text[]))
    AS n (place, customer_id, type, since, event_id)
JOIN names USING (customer_id)
JOIN events AS e ON e.customer_id = names.name AND e.type = n.type AND e.occurred_at >= n.since
    AND e.event_id <> n.event_id
""")
# As `event_days.name_of` names values. Events are read once for all waits of a customer, and what is asked for is
# looked up in a hash (IS TRUE: the planner knows neither number, and as a join would compare each with each).
_NEWEST = text(f"""
WITH RECURSIVE {NAMES}, asked AS MATERIALIZED (
    SELECT * FROM unnest(cast(:customers AS text[]), cast(:types AS text[]), cast(:keys AS text[]),
        cast(:about AS text[]), cast(:since AS timestamptz[])) AS a (customer_id, type, key, about, since)
), groups AS MATERIALIZED (
    SELECT customer_id, type, key, min(since) AS since FROM asked GROUP BY customer_id, type, key
), told AS (
    SELECT g.customer_id, g.type, g.key, e.event_id,
        least(round(extract(epoch FROM e.occurred_at) * 1000)::bigint, e.recorded_ms) AS at_ms,
        CASE WHEN octet_length(v.name) > {MAX_NAME_BYTES}
            THEN 'sha256:' || encode(sha256(convert_to(v.name, 'UTF8')), 'hex') ELSE v.name END AS about
    FROM groups AS g JOIN names USING (customer_id)
    JOIN events AS e ON e.customer_id = names.name AND e.type = g.type AND e.occurred_at >= g.since
    CROSS JOIN LATERAL (SELECT CASE jsonb_typeof(e.properties -> g.key)
        WHEN 'number' THEN trim_scale((e.properties ->> g.key)::numeric)::text
        WHEN 'boolean' THEN initcap(e.properties ->> g.key)
        ELSE e.properties ->> g.key END AS name) AS v
)
SELECT DISTINCT ON (customer_id, type, key, about) customer_id, type, key, about, at_ms, event_id FROM told
WHERE ((customer_id, type, key, about) IN (SELECT customer_id, type, key, about FROM asked)) IS TRUE
ORDER BY customer_id, type, key, about, at_ms DESC, event_id COLLATE "C" DESC
""")
_TOLD = text("""
SELECT DISTINCT decision_id || '/' || offer_id AS item, outcome FROM outcomes
WHERE decision_id = ANY(:ids) AND outcome = ANY(:outcomes)
""")
_TIME_ZONES = text("""
SELECT customer_id, attributes ->> 'time_zone' AS time_zone FROM customers
WHERE customer_id = ANY(:customers) AND attributes ? 'time_zone'
""")
_SCANNED = text("""
INSERT INTO trigger_scans (trigger_id, scanned_until, version) VALUES (:trigger_id, :until, :version)
ON CONFLICT (trigger_id) DO UPDATE SET scanned_until = excluded.scanned_until,
    version = greatest(trigger_scans.version, excluded.version)
""")
_BEGIN_SEEDING = text("""
INSERT INTO trigger_seeds (trigger_id, since, until) VALUES (:trigger_id, :since, :until)
ON CONFLICT (trigger_id) DO UPDATE SET since = excluded.since, until = excluded.until
""")
_TO_SEED = text("""
SELECT trigger_id, since, until FROM trigger_seeds WHERE trigger_id = ANY(:ids) ORDER BY trigger_id LIMIT 1 FOR UPDATE
""")
# The newest event of a customer begins the wait, and what the log has told meanwhile is newer than the archive.
_SEED = text(f"""
INSERT INTO trigger_waits AS w (trigger_id, customer_id, key, since, due_at, occasion, cause, version)
SELECT * FROM (
    SELECT DISTINCT ON (customer_id) cast(:trigger_id AS text), customer_id, '', occurred_at,
        occurred_at + cast(:after_s AS integer) * interval '1 s', 'event ' || event_id,
        jsonb_build_object('event', type, 'event_id', event_id, 'occurred_at', occurred_at),
        cast(:version AS bigint)
    FROM events WHERE type = ANY(:types) AND occurred_at > :since AND occurred_at <= :until
    ORDER BY customer_id, occurred_at DESC, event_id DESC
) AS new WHERE NOT EXISTS (SELECT FROM erased_customers WHERE subject = nb_subject(new.customer_id))
ON CONFLICT (trigger_id, customer_id, key) DO UPDATE SET since = excluded.since, due_at = excluded.due_at,
    occasion = excluded.occasion, cause = excluded.cause, version = excluded.version
WHERE w.since < excluded.since OR {_OUTLIVED}
""")
_SEEDED = text("UPDATE trigger_seeds SET until = :until WHERE trigger_id = :trigger_id")
_ALL_SEEDED = text("DELETE FROM trigger_seeds WHERE trigger_id = :trigger_id")
# From one id to the next in the primary key, however many rows each of them has.
_WAITING = text("""
WITH RECURSIVE ids AS (
    (SELECT trigger_id FROM trigger_waits ORDER BY trigger_id LIMIT 1)
    UNION ALL
    SELECT (SELECT w.trigger_id FROM trigger_waits AS w WHERE w.trigger_id > ids.trigger_id
        ORDER BY w.trigger_id LIMIT 1)
    FROM ids WHERE ids.trigger_id IS NOT NULL
)
SELECT trigger_id FROM ids WHERE trigger_id IS NOT NULL
""")
_FORGET = text(f"""
DELETE FROM trigger_waits WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM trigger_waits AS w WHERE trigger_id = :trigger_id AND {_OUTLIVED} LIMIT :most
))
""")


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
        """Forget the positions, and up to when was looked for: nothing is to be followed any more."""
        await self._connection.execute(text("DELETE FROM trigger_positions"))
        await self.forget_scans(())

    async def waits(self, keys: Collection[WaitKey]) -> dict[WaitKey, Wait]:
        """Read those of these waits that there are."""
        if not keys:
            return {}
        rows = await self._connection.execute(_OF_CUSTOMERS, _columns(keys))
        return {wait.key: wait for wait in map(_wait_of, rows)}

    async def stand_for(self, customer_ids: Collection[str]) -> dict[str, str]:
        """Read who of some are aliases, and of which customers; what aliases of all of them wait for is theirs then."""
        if not customer_ids:
            return {}
        rows = await self._connection.execute(_STAND_FOR, {"customers": list(customer_ids)})
        found = {row.name: row.customer_id for row in rows}
        customers = list({found.get(name, name) for name in customer_ids})
        await self._connection.execute(_OF_ALIASES, {"customers": customers})
        return found

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

    async def keep(self, waits: Sequence[Wait], version: int) -> None:
        """Write waits, in the place of those with their keys. ``version``: of the catalogue that they are of."""
        if not waits:
            return
        values = _columns([wait.key for wait in waits]) | {
            "since": [to_datetime(wait.since_ms) for wait in waits],
            "due": [to_datetime(wait.due_ms) for wait in waits],
            "occasions": [wait.occasion for wait in waits],
            "causes": [to_json(dict(wait.cause)).decode() for wait in waits],
            "version": version,
        }
        await self._connection.execute(_KEEP, values)

    async def drop(self, keys: Collection[WaitKey]) -> None:
        """Delete waits."""
        if keys:
            await self._connection.execute(_DROP, _columns(keys))

    async def later_events(self, asked: Sequence[tuple[str, str, int, str]]) -> set[int]:
        """Find in the archive who had an event since: ``asked`` is customer, type, since (Unix ms), and what not.

        Events of aliases are the customer's.

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

    async def newest_about(self, asked: Collection[tuple[Subject, int]]) -> dict[Subject, tuple[int, str]]:
        """Find the newest archived event about each of some things, of those since a time (Unix ms) or later.

        Events of aliases are the customer's. Returns when it happened, as in the log not later than it was told, and
        its id; of events at the same time that with the greatest id.
        """
        if not asked:
            return {}
        subjects, since = zip(*asked, strict=True)
        customers, types, keys, about = zip(*subjects, strict=True)
        values = {
            "customers": list(customers),
            "types": list(types),
            "keys": list(keys),
            "about": list(about),
            "since": [to_datetime(at_ms) for at_ms in since],
        }
        rows = await self._connection.execute(_NEWEST, values)
        return {Subject(r.customer_id, r.type, r.key, r.about): (r.at_ms, r.event_id) for r in rows}

    async def told(self, items: Collection[str], outcomes: Collection[str]) -> set[tuple[str, str]]:
        """Find archived outcomes of decided offers: ``<decision>/<offer>`` and outcome."""
        if not items or not outcomes:
            return set()
        values = {"ids": [item.rpartition("/")[0] for item in items], "outcomes": list(outcomes)}
        return {(row.item, row.outcome) for row in await self._connection.execute(_TOLD, values)}

    async def last_fired(self, pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Read when triggers fired last, as the function of this name does."""
        return await last_fired(self._connection, pairs)

    async def time_zones(self, customer_ids: Collection[str]) -> dict[str, Any]:
        """Read what customers' attribute ``time_zone`` holds, of those who have one."""
        if not customer_ids:
            return {}
        rows = await self._connection.execute(_TIME_ZONES, {"customers": list(customer_ids)})
        return {row.customer_id: row.time_zone for row in rows}

    async def fire(self, firings: Sequence[Firing]) -> int:
        """Insert firings; returns how many, without those whose occasion has fired before."""
        return await insert_firings(self._connection, firings)

    async def scanned(self) -> dict[str, int]:
        """Read up to when (Unix ms) days and idle customers of each trigger have been looked for."""
        query = text(f"SELECT trigger_id, scanned_until FROM trigger_scans AS w WHERE NOT {_OUTLIVED}")
        rows = await self._connection.execute(query)
        return {row.trigger_id: to_ms(row.scanned_until) for row in rows}

    async def scan(self, trigger_id: str, until_ms: int, version: int) -> None:
        """Note up to when they have been looked for, by which version of the catalogue."""
        values = {"trigger_id": trigger_id, "until": to_datetime(until_ms), "version": version}
        await self._connection.execute(_SCANNED, values)

    async def begin_seeding(self, trigger_id: str, since_ms: int, until_ms: int) -> None:
        """Note that waits of a trigger are to begin with the events in the archive of that time."""
        values = {"trigger_id": trigger_id, "since": to_datetime(since_ms), "until": to_datetime(until_ms)}
        await self._connection.execute(_BEGIN_SEEDING, values)

    async def forget_scans(self, trigger_ids: Collection[str]) -> None:
        """Forget up to when has been looked for all triggers but these; there are few such rows."""
        for table in ("trigger_scans", "trigger_seeds"):
            query = text(f"DELETE FROM {table} WHERE NOT trigger_id = ANY(:ids)")
            await self._connection.execute(query, {"ids": list(trigger_ids)})


class TriggerSettling:
    """Does piece by piece what may take long, beside the turns. ``engine``: may take long over a statement.

    Methods raise ``PostgresUnavailable``.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def forget_removed(self, most: int) -> bool:
        """Delete up to ``most`` waits of triggers that were removed since they began; False if there are none left."""
        async with transaction(self._engine) as connection:
            for row in (await connection.execute(_WAITING)).all():
                values = {"trigger_id": row.trigger_id, "most": most}
                if (await connection.execute(_FORGET, values)).rowcount:
                    return True
        return False

    async def seed(self, idle: Mapping[str, Trigger], slice_ms: int, version: int) -> bool:
        """Begin waits of one of the triggers with the events of a slice of time in the archive, the newest first.

        ``version``: of the catalogue that they are of.
        False if nothing is left to be done, or if somebody else is at it.
        """
        if not idle:
            return False
        async with transaction(self._engine) as connection:
            # An erasure takes the same right: it finds what was begun, or its events are not found any more.
            lock = {"lock": TRIGGER_SEEDS_LOCK}
            if not await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), lock):
                return False
            row = (await connection.execute(_TO_SEED, {"ids": list(idle)})).first()
            if row is None:
                return False
            on, named = idle[row.trigger_id].on, {"trigger_id": row.trigger_id}
            since = max(row.since, row.until - timedelta(milliseconds=slice_ms))
            values = {"types": list(on.idle), "after_s": on.after_s, "since": since, "until": row.until}
            await connection.execute(_SEED, named | values | {"version": version})
            if since > row.since:
                await connection.execute(_SEEDED, named | {"until": since})
            else:
                await connection.execute(_ALL_SEEDED, named)
            return True


async def _positions(connection: AsyncConnection) -> dict[int, StreamPosition]:
    rows = await connection.execute(text("SELECT bucket, position FROM trigger_positions"))
    return {row.bucket: StreamPosition(row.position) for row in rows}


def _columns(keys: Iterable[WaitKey]) -> dict[str, Any]:
    triggers, customers, names = zip(*keys, strict=True)
    return {"triggers": list(triggers), "customers": list(customers), "keys": list(names)}


def _wait_of(row: Any) -> Wait:
    key = row.trigger_id, row.customer_id, row.key
    return Wait(key, to_ms(row.since), to_ms(row.due_at), row.occasion, row.cause)
