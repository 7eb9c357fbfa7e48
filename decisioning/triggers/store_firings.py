"""Firings in Postgres, written in the transaction in which it is noted how far the log has been followed.

Functions raise what the driver raises: the transaction is the caller's, and so is the translation.
"""

from collections.abc import Collection, Sequence

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from decisioning.model.deciders import FIRING_PREFIX
from decisioning.model.trigger import DAY_OVER
from decisioning.triggers.firing import Firing
from storage.clock import to_datetime, to_ms

_INSERT = text(f"""
WITH new AS (
    SELECT * FROM unnest(cast(:triggers AS text[]), cast(:versions AS bigint[]), cast(:customers AS text[]),
        cast(:occasions AS text[]), cast(:causes AS text[]), cast(:fired AS timestamptz[]),
        cast(:deadlines AS timestamptz[]), cast(:dropped AS text[]), cast(:held AS text[]),
        cast(:placements AS text[]), cast(:channels AS text[]), cast(:decides AS boolean[]))
        AS new (trigger_id, version, customer_id, occasion, cause, fired_at, deadline_at, dropped, held, placement,
            channel, decides)
), fresh AS (
    INSERT INTO trigger_firings (firing_id, trigger_id, catalogue_version, customer_id, occasion, cause, fired_at,
        deadline_at, next_attempt_at, status, status_reason)
    SELECT gen_random_uuid(), trigger_id, version, customer_id, occasion, cast(cause AS jsonb), fired_at, deadline_at,
        CASE WHEN dropped IS NULL THEN fired_at END, CASE WHEN dropped IS NULL THEN 'due' ELSE 'dropped' END, dropped
    FROM new WHERE NOT EXISTS (SELECT FROM erased_customers WHERE subject = nb_subject(new.customer_id))
    ON CONFLICT (trigger_id, customer_id, occasion) DO NOTHING
    RETURNING firing_id, trigger_id, customer_id, occasion, fired_at
), counted AS (
    INSERT INTO fired_customers (fired_at, customer_id, held, version, placement, channel, decision_id)
    SELECT fired_at, customer_id, string_to_array(held, ','), version, placement, channel,
        CASE WHEN decides THEN '{FIRING_PREFIX}' || firing_id || ':0:' || placement END
    FROM fresh JOIN new USING (trigger_id, customer_id, occasion, fired_at)
    WHERE held IS NOT NULL AND dropped IS NULL
)
SELECT count(*) FROM fresh
""")
NAMES = """names AS (
    SELECT DISTINCT one AS customer_id, one AS name FROM unnest(cast(:customers AS text[])) AS one
    UNION ALL SELECT n.customer_id, a.alias FROM names AS n JOIN aliases AS a ON a.customer_id = n.name
)"""
"""For ``WITH RECURSIVE``: customers, each with all names, which are their own and those of their aliases."""
_LAST = text(f"""
WITH RECURSIVE {NAMES} SELECT asked.trigger_id, asked.customer_id, max(f.fired_at) AS fired_at
FROM unnest(cast(:triggers AS text[]), cast(:customers AS text[])) AS asked (trigger_id, customer_id)
JOIN names USING (customer_id)
JOIN trigger_firings AS f ON f.trigger_id = asked.trigger_id AND f.customer_id = names.name
    AND f.status_reason IS DISTINCT FROM cast(:past AS text)
GROUP BY asked.trigger_id, asked.customer_id
""")


async def insert_firings(connection: AsyncConnection, firings: Sequence[Firing]) -> int:
    """Insert firings, due at once; returns how many. One whose occasion has fired before is left as it is.

    What reports on hold-outs count of them is noted beside them: it stays for as long as the log does.
    Nothing is stored of customers who are kept out after an erasure.
    """
    if not firings:
        return 0
    values = {
        "triggers": [f.trigger_id for f in firings],
        "versions": [f.catalogue_version for f in firings],
        "customers": [f.customer_id for f in firings],
        "occasions": [f.occasion for f in firings],
        "causes": [to_json(dict(f.cause)).decode() for f in firings],
        "fired": [to_datetime(f.fired_at_ms) for f in firings],
        "deadlines": [to_datetime(f.deadline_at_ms) for f in firings],
        "held": [None if f.counted is None else ",".join(f.counted.held) for f in firings],
        "placements": [None if f.counted is None else f.counted.placement for f in firings],
        "channels": [None if f.counted is None else f.counted.channel for f in firings],
        "decides": [f.counted is not None and f.counted.decides for f in firings],
        "dropped": [f.dropped for f in firings],
    }
    return await connection.scalar(_INSERT, values) or 0


async def last_fired(
    connection: AsyncConnection, pairs: Collection[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Read when triggers fired last (Unix ms). ``pairs``: trigger and customer; those that never did are missing.

    What fired for an alias fired for the customer.
    """
    if not pairs:
        return {}
    triggers, customers = zip(*sorted(pairs), strict=True)
    rows = await connection.execute(
        _LAST, {"triggers": list(triggers), "customers": list(customers), "past": DAY_OVER}
    )
    return {(row.trigger_id, row.customer_id): to_ms(row.fired_at) for row in rows}
