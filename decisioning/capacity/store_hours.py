"""The units of a capacity that were used by hour, from the archived log."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.capacity.leasing import period_at
from decisioning.capacity.store_counting import OF_CAPACITY, SAME, SHOWN, USING
from decisioning.model.entities import Capacity
from storage.clock import DAY_MS, HOUR_MS, to_datetime
from storage.postgres import transaction

STATEMENT_MS = 8000
_DECIDED_MS = "extract(epoch FROM d.decided_at) * 1000"


@dataclass(frozen=True, slots=True)
class UsedInHour:
    """Units that were used in the hour that begins at ``at_ms`` (Unix ms)."""

    at_ms: int
    used: int


def first_hour(capacity: Capacity, now_ms: int) -> int:
    """Return where the curve begins (Unix ms): with the day of a capacity by day, else 24 hours, this one the last."""
    if capacity.per == "day":
        return period_at(capacity, now_ms).starts_ms
    this_hour = period_at(capacity, now_ms).starts_ms if capacity.per == "hour" else now_ms - now_ms % HOUR_MS
    return this_hour - DAY_MS + HOUR_MS


async def used_by_hour(engine: AsyncEngine, capacity: Capacity, now_ms: int) -> list[UsedInHour]:
    """Read the units that were used in each hour since ``first_hour``, in the order of time, none left out.

    Of a capacity that counts afterwards, when the outcome was recorded. Raises ``PostgresUnavailable``.
    """
    since_ms = first_hour(capacity, now_ms)
    values = {
        "capacity": capacity.capacity_id,
        "since": to_datetime(since_ms),
        "until": to_datetime(now_ms + 1),
        "since_ms": since_ms,
        "until_ms": now_ms + 1,
        "hour_ms": HOUR_MS,
    }
    async with transaction(engine) as connection:
        await connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_MS}"))
        rows = (await connection.execute(text(_hours_sql(capacity)), values)).all()
    used = {int(row.hour): int(row.used) for row in rows}
    hours = (now_ms - since_ms) // HOUR_MS + 1
    return [UsedInHour(since_ms + hour * HOUR_MS, used.get(hour, 0)) for hour in range(hours)]


def _hours_sql(capacity: Capacity) -> str:
    hour = "floor((at_ms - :since_ms) / cast(:hour_ms AS float8))"
    if not capacity.counts_later:
        return f"""
SELECT {hour} AS hour, count(*) AS used FROM (
    SELECT {_DECIDED_MS} AS at_ms FROM {OF_CAPACITY} AND d.decided_at >= :since AND d.decided_at < :until
        AND NOT EXISTS (SELECT FROM outcomes x WHERE {SAME} AND (x.outcome = 'withdrawn'
            OR x.outcome = 'released' AND x.offer_id = unit ->> 'offer_id'))
) AS units GROUP BY 1
"""
    using = USING[capacity.counting]
    key = "customer_id, offer_id" if capacity.once_per_customer else "decision_id, decided_at, offer_id"
    if capacity.per == "hour":
        key = f"{key}, {hour}"
    shown = f"""
    UNION ALL SELECT d.customer_id, d.decision_id, d.decided_at, unit ->> 'offer_id', {_DECIDED_MS}
    FROM {OF_CAPACITY} AND {SHOWN} AND d.decided_at >= :since AND d.decided_at < :until
        AND NOT EXISTS (SELECT FROM outcomes x WHERE {SAME} AND x.outcome = 'withdrawn')
    """
    is_presented = capacity.counting == "presented"
    return f"""
WITH uses AS (
    SELECT d.customer_id, d.decision_id, d.decided_at, o.offer_id, o.recorded_ms AS at_ms
    FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id AND d.decided_at = o.decided_at
    WHERE o.outcome IN {using} AND o.recorded_ms >= :since_ms AND o.recorded_ms < :until_ms
        AND d.header ? 'capacity' AND d.header -> 'capacity'
            @> jsonb_build_array(jsonb_build_object('capacity_id', CAST(:capacity AS text), 'offer_id', o.offer_id))
        AND NOT EXISTS (SELECT FROM outcomes x WHERE {SAME} AND x.offer_id = o.offer_id
            AND x.outcome IN {using} AND x.recorded_ms < :since_ms)
        {f"AND NOT {SHOWN}" if is_presented else ""}
    {shown if is_presented else ""}
)
SELECT {hour} AS hour, count(*) AS used FROM (SELECT min(at_ms) AS at_ms FROM uses GROUP BY {key}) AS first
GROUP BY 1
"""
