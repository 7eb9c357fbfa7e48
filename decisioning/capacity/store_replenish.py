"""The worker's part in capacity: opens pools, settles the leases of killed processes, counts released and used units.

It holds nothing that may not be lost, and any number of keepers may run.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

from sqlalchemy import text

from decisioning.capacity.leasing import GRACE_MS, LEASE_MS, Period, period_at
from decisioning.capacity.store_counting import LaterCounter
from decisioning.capacity.store_pools import Books, CapacityLog, Pools
from decisioning.capacity.store_pricing import PRICE_INTERVAL_S, CapacityPrices, Pricing
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.model.entities import Capacity
from decisioning.model.position import StreamPosition
from storage.clock import DAY_MS, HOUR_MS
from storage.postgres import transaction

log = logging.getLogger(__name__)

POLL_S = 0.05
MAX_CATCH_UP_S = 5.0
POOL_NOTE_RETENTION_MS = 30 * DAY_MS
CLEANUP_INTERVAL_MS = HOUR_MS
ROUNDS_PER_RELEASE_COUNT = 5
"""Counting what was released reads the log of the whole period, so it is not done in every round."""


@dataclass(slots=True, eq=False)
class CapacityKeeper:
    """Looks after the pools of all capacities of the newest catalogue."""

    pools: Pools
    capacity_log: CapacityLog
    reader: LogReader
    catalogues: CatalogueStore
    clock_ms: Callable[[], int]
    _: KW_ONLY
    lease_ms: int = LEASE_MS
    grace_ms: int = GRACE_MS
    interval_s: float = 1.0
    price_interval_s: float = PRICE_INTERVAL_S
    _catalogue: Catalogue | None = field(default=None, init=False)
    _missing: dict[tuple[str, str], int] = field(default_factory=dict, init=False)
    _cleaned_up_ms: int = field(default=0, init=False)
    _rounds: int = field(default=0, init=False)
    _later: LaterCounter = field(init=False)
    _pricing: Pricing = field(init=False)

    def __post_init__(self) -> None:
        self._later = LaterCounter(self.pools, self.capacity_log.engine)
        prices = CapacityPrices(self.capacity_log.engine)
        self._pricing = Pricing(self.pools, prices, self.price_interval_s)

    async def round(self) -> float:
        """Look after every pool once; returns how long to sleep.

        Raises ``RedisUnavailable`` or ``PostgresUnavailable`` if a store does not answer; the round may be done again.
        """
        if self._catalogue is None or await self.catalogues.version() > self._catalogue.version:
            self._catalogue = await self.catalogues.load()
        now_ms = self.clock_ms()
        self._rounds += 1
        for capacity in self._catalogue.capacities.values():
            period = period_at(capacity, now_ms)
            await self._maintain(capacity, period)
            if capacity.counts_later:
                await self._later.count(capacity, self._catalogue.version, period, now_ms)
            await self._set_price(capacity, period, now_ms)
            if capacity.per != "total":  # so that the next period begins even if Postgres is away by then
                await self._maintain(capacity, period_at(capacity, period.ends_ms))
        if now_ms - self._cleaned_up_ms > CLEANUP_INTERVAL_MS:
            self._cleaned_up_ms = now_ms
            await self.capacity_log.forget(now_ms - POOL_NOTE_RETENTION_MS)
        return self.interval_s

    async def _set_price(self, capacity: Capacity, period: Period, now_ms: int) -> None:
        if not capacity.keep_for_value:
            return
        books = await self.pools.books(capacity.capacity_id, period)
        if books is not None and (not capacity.counts_later or books.counted is not None):
            await self._pricing.price(capacity, period, books, now_ms)

    async def _maintain(self, capacity: Capacity, period: Period) -> None:
        capacity_id = capacity.capacity_id
        books = await self.pools.books(capacity_id, period)
        if books is None:
            await self._open(capacity_id, period)
            return
        self._missing.pop((capacity_id, period.period_id), None)
        await self._settle(capacity_id, period, books)
        is_due = (books.settled or books.holders) and self._rounds % ROUNDS_PER_RELEASE_COUNT == 0
        # A pool with an allowance counted otherwise before, and grants nothing until it is counted as it is now.
        if not capacity.counts_later and (is_due or books.allowed is not None):
            await self.pools.release(
                capacity_id, period, await self.capacity_log.released(capacity_id, period)
            )

    async def _settle(self, capacity_id: str, period: Period, books: Books) -> None:
        """End the leases that have run out, with what the log says was used of them."""
        if not books.holders:
            return
        now_ms = await self.pools.server_ms()
        over = [h for h, held in books.holders.items() if now_ms >= held.ends_ms + self.grace_ms]
        if not over or not await self._caught_up():
            return
        used = await self.capacity_log.used(capacity_id, period)
        for holder in over:
            if await self.pools.settle(capacity_id, period, holder, used.get(holder, 0)):
                unused = books.holders[holder].leased - used.get(holder, 0)
                log.info("capacity %s: a lease ran out, %d units come back", capacity_id, unused)

    async def _open(self, capacity_id: str, period: Period) -> None:
        """Open a pool: a new one at once, a lost one when all its leases have run out and the log is counted."""
        before_ms = await self.pools.server_ms() + self.lease_ms
        if await self.capacity_log.note_opening(capacity_id, period):
            await self.pools.open(capacity_id, period, 0, 0, before_ms=before_ms)
            return
        now_ms = await self.pools.server_ms()
        since_ms = self._missing.setdefault((capacity_id, period.period_id), now_ms)
        if now_ms < since_ms + self.lease_ms + self.grace_ms:
            return
        async with transaction(self.capacity_log.engine) as connection:
            # One keeper at a time opens a pool: what it has counted must not be out of date by then.
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
                {"name": f"capacity {capacity_id} {period.period_id}"},
            )
            if await self.pools.books(capacity_id, period) is not None or not await self._caught_up():
                return
            settled = sum((await self.capacity_log.used(capacity_id, period)).values())
            released = await self.capacity_log.released(capacity_id, period)
            if await self.pools.open(capacity_id, period, settled, released):
                log.warning("capacity %s: its pool was lost; restored with %d used", capacity_id, settled)

    async def _caught_up(self) -> bool:
        """Wait a while until all that is in the log now has been archived. Returns whether it has."""
        target = await self.reader.last_positions()
        loop = asyncio.get_running_loop()
        stop_s = loop.time() + MAX_CATCH_UP_S
        while loop.time() < stop_s:
            archived = await ArchiveReader(self.capacity_log.engine).positions()
            if all(archived.get(b, StreamPosition.START) >= position for b, position in target.items()):
                return True
            await asyncio.sleep(POLL_S)
        return False
