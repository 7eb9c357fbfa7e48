"""Prices of capacity that is kept for value: set by the worker every minute, from what decisions logged."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.capacity.leasing import Period
from decisioning.capacity.pricing import Demand, bid_price
from decisioning.capacity.store_pools import Books, Pools
from decisioning.model.entities import Capacity
from storage.clock import DAY_MS, HOUR_MS, to_datetime, to_ms
from storage.postgres import transaction

PRICE_INTERVAL_S = 60.0
MAX_DEMAND = 20_000
"""The newest offers that a price rests on: more would not move it."""
RETENTION_MS = 90 * DAY_MS

_DEMAND = """
SELECT at, propensity, value, given, accepted FROM (
    SELECT d.decided_at AS at, (d.header -> 'expected' ->> (o.place - 1)::int)::float8 AS propensity,
        (o.offer -> 'factors' ->> 'V')::float8 AS value, true AS given, EXISTS (
            SELECT FROM outcomes x WHERE x.decision_id = d.decision_id AND x.decided_at = d.decided_at
                AND x.offer_id = o.offer ->> 'offer_id' AND x.outcome = 'accepted') AS accepted
    FROM decisions d, jsonb_array_elements(d.header -> 'offers') WITH ORDINALITY AS o (offer, place)
    WHERE d.header ? 'capacity' AND d.decided_at >= :since AND d.decided_at < :until AND d.header -> 'capacity'
        @> jsonb_build_array(jsonb_build_object(
            'capacity_id', CAST(:capacity AS text), 'offer_id', o.offer ->> 'offer_id'))
    UNION ALL
    SELECT d.decided_at, (w ->> 1)::float8, (w ->> 2)::float8, false, false
    FROM decisions d, jsonb_array_elements(d.header -> 'seen' -> 'withheld') AS w
    WHERE d.header -> 'seen' ? 'withheld' AND d.decided_at >= :since AND d.decided_at < :until AND w ->> 4 = :capacity
) AS demand WHERE propensity IS NOT NULL AND value IS NOT NULL ORDER BY at DESC LIMIT :most
"""


@dataclass(frozen=True, slots=True)
class PricePoint:
    """A price that was set at a time (Unix ms), when ``left`` units were left."""

    at_ms: int
    price: float
    left: int


class CapacityPrices:
    """Prices as they were set, and the demand that they rest on. Every method raises ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def demand(
        self, capacity: Capacity, since_ms: int, until_ms: int, most: int = MAX_DEMAND
    ) -> list[Demand]:
        """Read the newest offers that asked for a unit between two times (Unix ms; the second is exclusive)."""
        values = {
            "since": to_datetime(since_ms),
            "until": to_datetime(until_ms),
            "capacity": capacity.capacity_id,
            "most": most,
        }
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(text(_DEMAND), values)).all()
        by_acceptance = capacity.counting == "accepted"
        return [
            Demand.of(
                to_ms(row.at),
                row.propensity,
                row.value,
                by_acceptance=by_acceptance,
                given=row.given,
                accepted=row.accepted,
            )
            for row in rows
        ]

    async def note(self, capacity_id: str, point: PricePoint) -> None:
        """Keep a price, and drop those that are too old."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                text(
                    "INSERT INTO capacity_prices (capacity_id, at_ms, price, units_left)"
                    " VALUES (:capacity, :at, :price, :left) ON CONFLICT DO NOTHING"
                ),
                {"capacity": capacity_id, "at": point.at_ms, "price": point.price, "left": point.left},
            )
            await connection.execute(
                text("DELETE FROM capacity_prices WHERE capacity_id = :capacity AND at_ms < :before"),
                {"capacity": capacity_id, "before": point.at_ms - RETENTION_MS},
            )

    async def points(self, capacity_id: str, since_ms: int, until_ms: int) -> Sequence[PricePoint]:
        """Read the prices that were set between two times (Unix ms), in their order."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(
                text(
                    "SELECT at_ms, price, units_left FROM capacity_prices"
                    " WHERE capacity_id = :capacity AND at_ms >= :since AND at_ms < :until ORDER BY at_ms"
                ),
                {"capacity": capacity_id, "since": since_ms, "until": until_ms},
            )
            return [PricePoint(row.at_ms, row.price, row.units_left) for row in rows]


@dataclass(slots=True, eq=False)
class Pricing:
    """Sets the prices. Holds nothing that may not be lost."""

    pools: Pools
    prices: CapacityPrices
    interval_s: float = PRICE_INTERVAL_S
    ticks_s: Callable[[], float] = time.monotonic
    _set_s: dict[tuple[str, str], float] = field(default_factory=dict, init=False)

    async def price(self, capacity: Capacity, period: Period, books: Books, now_ms: int) -> None:
        """Set the price of a pool, if it is time. Raises ``RedisUnavailable`` or ``PostgresUnavailable``."""
        pool = (capacity.capacity_id, period.period_id)
        now_s = self.ticks_s()
        if now_s - self._set_s.get(pool, -self.interval_s) < self.interval_s:
            return
        left = books.usage(capacity, period).remaining
        seen_ms = DAY_MS if capacity.per == "day" else HOUR_MS
        demand = await self.prices.demand(capacity, now_ms - seen_ms, now_ms)
        price = bid_price(demand, left, now_ms, period)
        await self.pools.set_price(capacity.capacity_id, period, price)
        await self.prices.note(capacity.capacity_id, PricePoint(now_ms, price, left))
        self._set_s = {pool: at_s for pool, at_s in self._set_s.items() if now_s - at_s < self.interval_s}
        self._set_s[pool] = now_s
