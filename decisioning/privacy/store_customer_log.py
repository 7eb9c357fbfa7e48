"""A customer's part of the log, read as it is held: archived decisions, and what still stands in a stream alone."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from msgspec import msgpack
from pydantic_core import from_json
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.log.store_partitions import in_months
from decisioning.log.store_sql import IN_LOG_ORDER
from decisioning.model.position import StreamPosition
from decisioning.privacy.entries import StreamEntry, pick_entries, plain_numbers, show_entry
from decisioning.privacy.store_set_aside import SetAside
from storage.clock import to_datetime, to_ms
from storage.keys import Keys
from storage.postgres import to_dicts, transaction
from storage.redis import redis_errors

CHUNK = 500
"""Entries of a stream that are read at once."""

_DECISIONS = """
SELECT decision_id, decided_at, header::text AS header, candidates, priors, factors FROM decisions
WHERE customer_id = ANY(:names) {before} ORDER BY decided_at DESC, decision_id DESC LIMIT :most
"""
_BEFORE = "AND (decided_at, decision_id) < (cast(:at AS timestamptz), cast(:id AS text))"
_OUTCOMES = f"""
SELECT decision_id, decided_at, offer_id, outcome, value, at_ms, recorded_ms, late, reward, prior, estimate, worth,
    earned, facts, policy, placement
FROM outcomes WHERE decision_id = ANY(:ids) {{months}} ORDER BY {IN_LOG_ORDER}
"""
_TESTS = """
SELECT t.test_id, t.placement, t.policy, t.started_at FROM canary_tests AS t JOIN canary_customers USING (test_id)
WHERE customer_id = :customer_id ORDER BY test_id
"""
_EVENTS = text("""
SELECT event_id, type, occurred_at, recorded_ms, properties, contacts FROM events WHERE customer_id = :customer_id
ORDER BY occurred_at DESC, event_id
""")


_FIRINGS = text("""
SELECT trigger_id, occasion, cause, fired_at, deadline_at, status, status_reason, decision_id, chosen, updated_at
FROM trigger_firings WHERE customer_id = :customer_id ORDER BY fired_at DESC, trigger_id, occasion
""")
_COUNTED = text("""
SELECT fired_at, held, placement, channel, decision_id FROM fired_customers WHERE customer_id = :customer_id
ORDER BY fired_at DESC, decision_id
""")
_WAITS = text("""
SELECT trigger_id, since, due_at, occasion, cause FROM trigger_waits WHERE customer_id = :customer_id
ORDER BY due_at, trigger_id, key
""")
_TRIGGERS = {"trigger_firings": _FIRINGS, "counted_firings": _COUNTED, "trigger_waits": _WAITS}


class CustomerLog:
    """Reads. Methods raise ``PostgresUnavailable`` and ``RedisUnavailable``."""

    def __init__(self, engine: AsyncEngine, redis: Redis, keys: Keys) -> None:
        self._engine = engine
        self._redis: Any = redis
        self._keys = keys
        self._set_aside = SetAside(engine)

    async def entries(self, bucket: int) -> AsyncIterator[list[StreamEntry]]:
        """Read the stream of a bucket, in chunks."""
        first = "-"
        while True:
            async with redis_errors():
                found = await self._redis.xrange(self._keys.log(bucket), first, "+", count=CHUNK)
            entries = [StreamEntry(StreamPosition(name.decode()), fields) for name, fields in found]
            yield entries
            if len(entries) < CHUNK:
                return
            first = f"({entries[-1].position}"

    async def in_stream(self, customer_id: str, ids: set[str]) -> list[StreamEntry]:
        """Read the customer's entries in the stream of the bucket; ``ids`` as for ``pick_entries``."""
        found = []
        async for chunk in self.entries(self._keys.bucket(customer_id)):
            found += pick_entries(chunk, customer_id, ids)
        return found

    async def not_archived(self, customer_id: str, ids: set[str]) -> list[StreamEntry]:
        """Read those of the customer's entries that the archive does not have yet."""
        async with transaction(self._engine) as connection:
            query = text("SELECT position FROM archived WHERE bucket = :bucket")
            done = await connection.scalar(query, {"bucket": self._keys.bucket(customer_id)})
        archived = StreamPosition.START if done is None else StreamPosition(done)
        return [e for e in await self.in_stream(customer_id, ids) if e.position > archived]

    async def set_aside(self, customer_id: str, ids: set[str]) -> list[dict[str, Any]]:
        """Read what could not be archived or recorded, with the reasons; ``ids`` as for ``pick_entries``."""
        letters = await self._set_aside.of(customer_id, self._keys.bucket(customer_id), ids)
        return [
            show_entry(StreamEntry(one.position, one.fields))
            | {"reason": one.reason, "set_aside_at": one.set_aside_at}
            for one in letters
        ]

    async def page(
        self, names: Sequence[str], before: tuple[int, str] | None, limit: int
    ) -> list[dict[str, Any]]:
        """Read the newest archived decisions, older than ``before`` (Unix ms and id), with all that is kept of them.

        ``names``: the customer and all aliases.
        """
        values: dict[str, Any] = {"names": list(names), "most": limit}
        if before is not None:
            values |= {"at": to_datetime(before[0]), "id": before[1]}
        query = text(_DECISIONS.format(before="" if before is None else _BEFORE))
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(query, values)).all()
            outcomes = await _outcomes_of(connection, rows)
            numbers = (await connection.execute(text("SELECT offer_no, offer_id FROM offers"))).all()
        offers: dict[int, str] = {row.offer_no: row.offer_id for row in numbers}
        return [
            {
                "decision_id": row.decision_id,
                "decided_at": row.decided_at,
                "record": from_json(row.header),
                "candidates": [
                    {"offer_id": offers.get(number), "base_propensity": base}
                    for number, base in zip(
                        np.frombuffer(row.candidates, "<u4").tolist(),
                        plain_numbers(np.frombuffer(row.priors, "<f4").tolist()),
                        strict=True,
                    )
                ],
                "outcomes": outcomes.get((row.decision_id, row.decided_at), []),
            }
            for row in rows
        ]

    async def canary_tests(self, customer_id: str) -> list[dict[str, Any]]:
        """Read the running comparisons of policies in which the customer was counted."""
        async with transaction(self._engine) as connection:
            return to_dicts(await connection.execute(text(_TESTS), {"customer_id": customer_id}))

    async def events(self, customer_id: str) -> list[dict[str, Any]]:
        """Read all archived events of the customer, the newest first."""
        async with transaction(self._engine) as connection:
            found = to_dicts(await connection.execute(_EVENTS, {"customer_id": customer_id}))
        return [one | {"recorded_at": to_datetime(one.pop("recorded_ms"))} for one in found]

    async def triggers(self, customer_id: str) -> dict[str, list[dict[str, Any]]]:
        """Read what fired for the customer, the newest first, what reports keep of it, and what is waited for."""
        async with transaction(self._engine) as connection:
            return {
                name: to_dicts(await connection.execute(query, {"customer_id": customer_id}))
                for name, query in _TRIGGERS.items()
            }

    async def told(self, customer_id: str) -> Any:
        """Read what is kept of what the customer's events told; ``None`` if there is nothing."""
        async with redis_errors():
            packed = await self._redis.get(self._keys.events(customer_id))
        return None if packed is None else msgpack.decode(packed)


async def _outcomes_of(
    connection: AsyncConnection, rows: Sequence[Any]
) -> dict[tuple[str, datetime], list[dict[str, Any]]]:
    found: dict[tuple[str, datetime], list[dict[str, Any]]] = {}
    if not rows:
        return found
    times = [to_ms(row.decided_at) for row in rows]
    query = text(_OUTCOMES.format(months=in_months(min(times), max(times))))
    for row in await connection.execute(query, {"ids": [row.decision_id for row in rows]}):
        values: dict[str, Any] = {n: None if v != v else v for n, v in row._mapping.items()}
        of = values.pop("decision_id"), values.pop("decided_at")
        values["occurred_at"] = to_datetime(values.pop("at_ms"))
        values["recorded_at"] = to_datetime(values.pop("recorded_ms"))
        values["base_propensity"] = values.pop("prior")
        found.setdefault(of, []).append(values)
    return found
