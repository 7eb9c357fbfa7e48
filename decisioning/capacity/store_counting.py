"""Counting capacity after the fact: what decisions hold, and what has come of them, as the archived log says.

Why a pool that is kept by these readings is never exceeded, and by how much at most, is argued in
``decisioning.capacity.forecast``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.capacity.forecast import FORECAST_DECISIONS, Reading, Share, count_holds
from decisioning.capacity.leasing import Period, period_at
from decisioning.capacity.store_pools import Pools
from decisioning.model.entities import Capacity
from storage.clock import DAY_MS, to_datetime
from storage.postgres import transaction

SHARE_AGE_S = 60.0
"""The time for which a forecast is used."""
FORECAST_MS = 7 * DAY_MS
REST_FACTOR = 20.0
"""A reading that takes a second is made again after so many: what it costs stays below a twentieth."""

USING = {
    "presented": "('presented', 'clicked', 'accepted', 'rejected')",
    "accepted": "('accepted')",
}
"""The outcomes that use up a unit. Literals, so that the index ``outcomes_used`` serves them."""
_ENDING = "('presented', 'clicked', 'accepted', 'rejected', 'withdrawn', 'released', 'expired', 'closed')"
_ENDING_BEFORE_USE = {
    "presented": _ENDING,
    "accepted": "('accepted', 'rejected', 'withdrawn', 'released', 'expired', 'closed')",
}
SAME = "x.decision_id = d.decision_id AND x.decided_at = d.decided_at"
# Where nobody has to confirm it, an offer counts as presented when it is decided.
SHOWN = "d.header ->> 'presentation' = 'implicit'"
OF_CAPACITY = """
decisions d, jsonb_array_elements(d.header -> 'capacity') AS unit
WHERE d.header ? 'capacity' AND unit ->> 'capacity_id' = :capacity
"""


def _reading_sql(capacity: Capacity, with_previous: bool) -> str:
    """Build the statement of a reading: one, so that all of it is of one moment.

    ``with_previous``: what the period before has given out matters still.
    """
    using, is_presented = USING[capacity.counting], capacity.counting == "presented"
    key = "(customer_id, offer_id)" if capacity.once_per_customer else "(decision_id, decided_at, offer_id)"
    shown = f"""
    UNION ALL SELECT d.customer_id, d.decision_id, d.decided_at, unit ->> 'offer_id'
    FROM {OF_CAPACITY} AND {SHOWN} AND d.decided_at >= :starts AND unit ->> 'period' = :period
        AND NOT EXISTS (SELECT FROM outcomes x WHERE {SAME} AND x.outcome = 'withdrawn')
    """
    before = f"""
    SELECT count(*) FROM {OF_CAPACITY} AND unit ->> 'period' = :previous AND d.decided_at >= :previous_starts
    """
    if not with_previous:
        before = "SELECT 0"
    used_before = """
    AND NOT EXISTS (SELECT FROM used u WHERE u.customer_id = d.customer_id AND u.offer_id = unit ->> 'offer_id')
    """
    return f"""
WITH used AS (
    SELECT d.customer_id, d.decision_id, d.decided_at, o.offer_id
    FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id AND d.decided_at = o.decided_at
    WHERE o.outcome IN {using} AND o.recorded_ms >= :starts_ms AND o.recorded_ms < :ends_ms
        AND d.header ? 'capacity' AND d.header -> 'capacity'
            @> jsonb_build_array(jsonb_build_object('capacity_id', CAST(:capacity AS text), 'offer_id', o.offer_id))
        AND NOT EXISTS (SELECT FROM outcomes x WHERE {SAME} AND x.offer_id = o.offer_id
            AND x.outcome IN {using} AND x.recorded_ms < :starts_ms)
        {f"AND NOT {SHOWN}" if is_presented else ""}
    {shown if is_presented else ""}
), held AS (
    SELECT d.customer_id, d.decision_id, d.decided_at, unit ->> 'offer_id' AS offer_id, unit ->> 'period' AS period
    FROM {OF_CAPACITY} AND d.decided_at > :held_since
        AND NOT EXISTS (SELECT FROM outcomes x WHERE {SAME} AND x.offer_id = unit ->> 'offer_id'
            AND x.outcome IN {_ENDING_BEFORE_USE[capacity.counting]})
        {f"AND NOT {SHOWN}" if is_presented else ""}
        {used_before if capacity.once_per_customer else ""}
)
SELECT
    (SELECT count(*) FROM {OF_CAPACITY} AND unit ->> 'period' = :period AND d.decided_at >= :starts) AS units,
    (SELECT count(DISTINCT {key}) FROM held WHERE period = :period) AS held,
    (SELECT count(DISTINCT {key}) FROM held) AS held_in_all,
    (SELECT count(DISTINCT {key}) FROM used) AS counted,
    ({before}) AS units_before
"""


def _share_sql(capacity: Capacity) -> str:
    """Build the statement of a forecast: what came, in time, of the newest decisions whose time is over."""
    key = "customer_id, offer_id" if capacity.once_per_customer else "decision_id, decided_at, offer_id"
    used = f"""EXISTS (SELECT FROM outcomes x WHERE {SAME} AND x.offer_id = unit ->> 'offer_id'
        AND x.outcome IN {USING[capacity.counting]}
        AND x.recorded_ms <= extract(epoch FROM d.decided_at) * 1000 + :hold_ms)"""
    if capacity.counting == "presented":
        used = f"({SHOWN} OR {used})"
    return f"""
SELECT count(*) AS tried, count(*) FILTER (WHERE is_used) AS used FROM (
    SELECT bool_or(is_used) AS is_used FROM (
        SELECT d.customer_id, d.decision_id, d.decided_at, unit ->> 'offer_id' AS offer_id, {used} AS is_used
        FROM {OF_CAPACITY} AND d.decided_at > :since AND d.decided_at <= :held_since
            AND NOT EXISTS (SELECT FROM outcomes x WHERE {SAME} AND x.outcome = 'withdrawn')
        ORDER BY d.decided_at DESC LIMIT :most
    ) AS newest GROUP BY {key}
) AS things
"""


@dataclass(slots=True, eq=False)
class LaterCounter:
    """Tells pools what their decisions still hold, and how many may. Holds nothing that may not be lost.

    ``count`` raises ``RedisUnavailable`` or ``PostgresUnavailable``.
    """

    pools: Pools
    engine: AsyncEngine
    ticks_s: Callable[[], float] = time.monotonic
    _shares: dict[Capacity, tuple[float, Share]] = field(default_factory=dict, init=False)
    _rested_s: dict[tuple[str, str], float] = field(default_factory=dict, init=False)

    async def count(self, capacity: Capacity, version: int, period: Period, now_ms: int) -> None:
        """Read the log and tell the pool, unless the last reading was too expensive to be made again by now."""
        pool = (capacity.capacity_id, period.period_id)
        started_s = self.ticks_s()
        if started_s < self._rested_s.get(pool, 0.0):
            return
        reading = await self.read(capacity, period, now_ms)
        unread = await self._count_unread(capacity, period, reading, now_ms)
        share = await self._forecast(capacity, now_ms)
        overbook = capacity.max if capacity.overbook is None else capacity.overbook
        holds = count_holds(capacity.max - reading.counted, share.upper, overbook)
        await self.pools.release(
            capacity.capacity_id,
            period,
            reading.units - reading.held,
            counted=reading.counted,
            allowed=max(holds - reading.held_before - unread, 0),
            version=version,
        )
        took_s = self.ticks_s() - started_s
        self._rested_s[pool] = started_s + REST_FACTOR * took_s

    async def read(self, capacity: Capacity, period: Period, now_ms: int) -> Reading:
        """Read what is held and used up in a period, at a time (Unix ms)."""
        values: dict[str, Any] = {
            "capacity": capacity.capacity_id,
            "period": period.period_id,
            "starts": to_datetime(period.starts_ms),
            "starts_ms": period.starts_ms,
            "ends_ms": period.ends_ms,
            "held_since": to_datetime(now_ms - 1000 * capacity.hold_s),
        }
        with_previous = _is_held_from_before(capacity, period, now_ms)
        if with_previous:
            previous = _period_before(capacity, period)
            values |= {"previous": previous.period_id, "previous_starts": to_datetime(previous.starts_ms)}
        async with transaction(self.engine) as connection:
            found = await connection.execute(text(_reading_sql(capacity, with_previous)), values)
            row = found.one()
        return Reading(row.units, row.held, row.held_in_all - row.held, row.counted, row.units_before)

    async def _count_unread(self, capacity: Capacity, period: Period, reading: Reading, now_ms: int) -> int:
        """Count units of the period before that may be held, though the reading does not know their decisions yet.

        The pool of that period knows: what it has given out is in the log, or will be, or comes back. It is asked after
        the log was read, so what comes in meanwhile is counted twice rather than not at all.
        """
        if not _is_held_from_before(capacity, period, now_ms):
            return 0
        books = await self.pools.books(capacity.capacity_id, _period_before(capacity, period))
        return 0 if books is None else max(books.given_out - reading.units_before, 0)

    async def share(self, capacity: Capacity, now_ms: int) -> Share:
        """Read what came of decisions whose time was over at a time (Unix ms)."""
        hold_ms = 1000 * capacity.hold_s
        async with transaction(self.engine) as connection:
            found = await connection.execute(
                text(_share_sql(capacity)),
                {
                    "capacity": capacity.capacity_id,
                    "hold_ms": hold_ms,
                    "held_since": to_datetime(now_ms - hold_ms),
                    "since": to_datetime(now_ms - hold_ms - FORECAST_MS),
                    "most": FORECAST_DECISIONS,
                },
            )
            row = found.one()
        return Share(row.used, row.tried)

    async def _forecast(self, capacity: Capacity, now_ms: int) -> Share:
        now_s = self.ticks_s()
        self._shares = {c: known for c, known in self._shares.items() if now_s - known[0] < SHARE_AGE_S}
        if capacity not in self._shares:
            self._shares[capacity] = now_s, await self.share(capacity, now_ms)
        return self._shares[capacity][1]


def _is_held_from_before(capacity: Capacity, period: Period, now_ms: int) -> bool:
    """Return whether decisions of the period before may hold units at a time (Unix ms)."""
    return capacity.per != "total" and now_ms - 1000 * capacity.hold_s < period.starts_ms


def _period_before(capacity: Capacity, period: Period) -> Period:
    return period_at(capacity, period.starts_ms - 1)
