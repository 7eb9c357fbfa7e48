"""The archiver: copies the log into Postgres, and trims the streams behind what is durable."""

import logging

from app.metrics import ARCHIVE_LAG, ARCHIVED
from app.state import clock_ms
from decisioning.learning.store_arms import ArmStore
from decisioning.log.store_archive import Archiver
from decisioning.log.store_stream import Batch, LogReader
from decisioning.model.position import StreamPosition
from decisioning.policies.store_roster import RosterFeed

log = logging.getLogger(__name__)

ENTRIES = 1000
CHANGES = 5000
CHANGES_KEPT = 2000


class ArchiverJob:
    """Archives all buckets in batches. Of several, one is at work at a time; positions move with the data."""

    def __init__(
        self,
        archiver: Archiver,
        reader: LogReader,
        arms: ArmStore,
        feed: RosterFeed,
        interval_s: float,
    ) -> None:
        self._archiver = archiver
        self._reader = reader
        self._arms = arms
        self._feed = feed
        self._interval_s = interval_s
        self._gone: set[str] = set()

    async def round(self) -> float:
        """Archive one batch of entries and folds; returns how long to sleep (0 while there is a backlog).

        Raises ``RedisUnavailable`` or ``PostgresUnavailable`` if a store does not answer.
        """
        self._gone &= {key for key, state in self._feed.states.items() if state == "retired"}
        async with self._archiver.turn() as positions:
            if positions is None:
                return self._interval_s  # another archiver is at it
            batch = await self._reader.read(positions, count=ENTRIES, block_ms=None, decisions=True)
            if batch.last:
                await self._archiver.write(batch)
        if not batch.last:
            await self._archive_folds()
            return self._interval_s
        ARCHIVED.labels("decided").inc(len(batch.decided))
        ARCHIVED.labels("outcome").inc(len(batch.outcomes))
        newest_ms = max(position.at_ms for position in batch.last.values())
        ARCHIVE_LAG.set(max(clock_ms() - newest_ms, 0) / 1000)
        await self._trim(batch)
        await self._archive_folds()
        return 0.0 if len(batch) > ENTRIES else self._interval_s

    async def _trim(self, batch: Batch) -> None:
        """Forget what is archived and folded into every policy's arms.

        Which policies there are is asked after the batch was archived: a policy that begins to be warmed up later folds
        what is archived now.
        """
        durable = dict(batch.last)
        for key in await self._feed.learning():
            arms = await self._arms.load_positions(key)
            for bucket, position in durable.items():
                durable[bucket] = min(position, arms.get(bucket, StreamPosition.START))
        await self._reader.trim({b: p for b, p in durable.items() if p != StreamPosition.START})

    async def _archive_folds(self) -> None:
        for key in self._feed.live():
            await self._archive_folds_of(key)
        for key, state in self._feed.states.items():
            if state == "retired" and key not in self._gone:
                await self._let_go(key)

    async def _archive_folds_of(self, key: str) -> int:
        """Archive what was folded into a policy's arms; returns the newest epoch that is archived."""
        last = await self._archiver.last_fold(key)
        changes = await self._arms.changes(key, last, count=CHANGES, block_ms=None)
        if not changes:
            return last
        moves = [(c.epoch, b, p) for c in changes for b, p in c.positions.items()]
        await self._archiver.write_folds(key, moves)
        await self._arms.trim_changes(key, changes[-1].epoch - CHANGES_KEPT)
        return changes[-1].epoch

    async def _let_go(self, key: str) -> None:
        """Delete the arms of a retired policy, once everything is archived that a replay needs."""
        async with self._feed.store.held(key, "retired") as held:
            epoch = None if held is None else await self._arms.load_epoch(key)
            if epoch is None or (
                await self._archive_folds_of(key) >= epoch and await self._arms.forget(key, epoch)
            ):
                self._gone.add(key)
