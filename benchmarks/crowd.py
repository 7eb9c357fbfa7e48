"""Customers by the million, with what the log, events and firings have of them, for the benchmark of the console.

Customers are loaded with ``COPY``; the rest Postgres makes itself, of one decision that the service has made.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg

from app.state import ApiState
from benchmarks.machine import BenchError
from decisioning.log.store_archive import Archiver
from decisioning.log.store_sql import DECISION_COLUMNS
from profiles.store_sample import sample_profiles
from storage.addresses import parse_postgres

AT_ONCE = 50_000
DAYS = 27
CACHED_SHARE, MOST_CACHED = 0.02, 20_000
"""The part of customers whose profiles are in Redis, and the most: they are read as a sample."""
_CUSTOMERS = ("customer_id", "attributes", "holdings", "consents", "updated_at")
_SHAPES = (
    # Every fifth has propensities, every twentieth is on a list.
    "INSERT INTO propensities (customer_id, scores)"
    " SELECT 'c' || n, jsonb_build_object('offer-' || n % 50, 0.1, 'offer-' || n % 70, 0.2)"
    " FROM generate_series(0, $1 - 1, 5) AS n",
    "INSERT INTO suppressions (list_id, customer_id, reason)"
    " SELECT 'do-not-call', 'c' || n, 'asked for it' FROM generate_series(0, $1 - 1, 20) AS n",
    "INSERT INTO events (event_id, customer_id, type, occurred_at, recorded_ms, properties, contacts, bucket, position)"
    " SELECT 'e' || n, 'c' || n, (array['visit', 'call', 'purchase'])[1 + n % 3],"
    f" now() - n % ({DAYS} * 1440) * interval '1 minute', 1, '{{\"seconds\": 1.5}}', '{{}}', 0, n || '-0'"
    " FROM generate_series(0, $1 - 1) AS n",
    "INSERT INTO trigger_firings (firing_id, trigger_id, catalogue_version, customer_id, occasion, cause, fired_at,"
    " deadline_at, status)"
    " SELECT gen_random_uuid(), 'trigger-' || n % 5, 1, 'c' || n, 'o', '{}', now() - n % 28800 * interval '1 minute',"
    " now(), (array['delivered', 'nothing', 'failed'])[1 + n % 3] FROM generate_series(0, $1 - 1) AS n",
)
_HEADER = """
d.header || jsonb_build_object('decision_id', n.decision_id, 'customer_id', n.customer_id,
    'decided_at_ms', cast(extract(epoch FROM n.decided_at) * 1000 AS bigint))
"""
_DECISIONS = f"""
INSERT INTO decisions ({", ".join(DECISION_COLUMNS)})
SELECT {
    ", ".join(
        {"header": _HEADER}.get(c, f"{'n' if c in ('decision_id', 'decided_at', 'customer_id') else 'd'}.{c}")
        for c in DECISION_COLUMNS
    )
}
FROM (SELECT * FROM decisions LIMIT 1) AS d CROSS JOIN (
    SELECT 'nb001-' || md5(cast(n AS text)) AS decision_id, 'c' || n AS customer_id,
        date_trunc('milliseconds', now() - n % ({DAYS} * 1440) * interval '1 minute') AS decided_at
    FROM generate_series(1, $1) AS n
) AS n
"""


async def fill_crowd(state: ApiState, postgres_url: str, customers: int, say: Callable[[str], None]) -> None:
    """Load ``customers``, an event, a firing and a decision of each.

    Needs a decision in the log. Raises ``BenchError`` if there is none, and what the driver raises.
    """
    await _archive(state, postgres_url)
    connection = await asyncpg.connect(parse_postgres(postgres_url))
    try:
        began = time.monotonic()
        for start in range(0, customers, AT_ONCE):
            some = range(start, min(start + AT_ONCE, customers))
            await connection.copy_records_to_table("customers", records=_records(some), columns=_CUSTOMERS)
        say(f"{customers} customers: {time.monotonic() - began:.1f} s")
        for statement in (*_SHAPES, _DECISIONS):
            began = time.monotonic()
            await connection.execute(statement, customers, timeout=3600)
            say(f"{statement.split()[2]} of them: {time.monotonic() - began:.1f} s")
    finally:
        await connection.close()


async def cache_profiles(state: ApiState, customers: int, say: Callable[[str], None]) -> None:
    """Put the profiles of some of ``customers`` into Redis, where they stay for some minutes."""
    cached = min(round(customers * CACHED_SHARE), MOST_CACHED)
    profiles, _ = await sample_profiles(state.engine, state.current_catalogue().numbers, cached)
    for start in range(0, len(profiles), 16):
        await asyncio.gather(*(state.profiles.cache.fill(one) for one in profiles[start : start + 16]))
    say(f"{len(profiles)} profiles in Redis")


def _records(numbers: range) -> Iterator[tuple[Any, ...]]:
    """Make the rows of some customers, as ``_CUSTOMERS``."""
    now = datetime.now(UTC)
    for n in numbers:
        attributes = f'{{"age": {18 + n % 60}, "city": "city-{n % 500}", "plan": "plan-{n % 7}"}}'
        consents = '{"marketing": ["*"]}' if n % 3 else '{"marketing": ["web", "!call"]}'
        yield f"c{n}", attributes, [f"product-{n % 12}"], consents, now


async def _archive(state: ApiState, postgres_url: str) -> None:
    """Archive what is in the log."""
    archiver = Archiver(postgres_url)
    try:
        await archiver.make_partitions(datetime.now(UTC))
        async with archiver.turn() as positions:
            if positions is None:
                raise BenchError("another archiver is at work")
            batch = await state.log_reader.read(positions, count=1000, block_ms=None, decisions=True)
            if not batch.decided:
                raise BenchError("there is no decision in the log")
            await archiver.write(batch)
    finally:
        await archiver.close()
