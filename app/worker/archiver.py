"""The archiver: copies the log into Postgres, and trims the streams behind what is durable."""

import logging

from app.metrics import ARCHIVE_LAG, ARCHIVED
from app.state import clock_ms
from decisioning.roster import Roster
from decisioning.stores.archive import Archiver
from decisioning.stores.streams import START, ArmStore, Batch, LogReader, order

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
        roster: Roster,
        interval_s: float,
    ) -> None:
        self._archiver = archiver
        self._reader = reader
        self._arms = arms
        self._roster = roster
        self._interval_s = interval_s

    async def round(self) -> float:
        """Archive one batch of entries and folds; returns how long to sleep (0 while there is a backlog).

        Raises ``RedisUnavailable`` or ``PostgresUnavailable`` if a store does not answer.
        """
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
        newest_ms = max(order(position)[0] for position in batch.last.values())
        ARCHIVE_LAG.set(max(clock_ms() - newest_ms, 0) / 1000)
        await self._trim(batch)
        await self._archive_folds()
        return 0.0 if len(batch) > ENTRIES else self._interval_s

    async def _trim(self, batch: Batch) -> None:
        """Forget what is archived and folded into every policy's arms."""
        durable = dict(batch.last)
        for key in self._roster.learning():
            arms = await self._arms.load_positions(key)
            for bucket, position in durable.items():
                durable[bucket] = min(position, arms.get(bucket, START), key=order)
        await self._reader.trim({b: p for b, p in durable.items() if p != START})

    async def _archive_folds(self) -> None:
        for key in self._roster.learning():
            last = await self._archiver.last_fold(key)
            changes = await self._arms.changes(key, last, count=CHANGES, block_ms=None)
            if not changes:
                continue
            moves = [(c.epoch, b, p) for c in changes for b, p in c.positions.items()]
            await self._archiver.write_folds(key, moves)
            await self._arms.trim_changes(key, changes[-1].epoch - CHANGES_KEPT)
