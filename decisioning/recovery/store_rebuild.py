"""Rebuilding what a lost Redis held, from the log in Postgres: arms, contact history, decisions that still wait.

Safe while the system runs. Archiving stands still meanwhile, so the archived positions do not move and nothing is
trimmed behind them; arms are reset to those positions only if nobody folded in between; and what is still in the
streams behind the positions is folded again by the learner, whose earlier readings are void. At the end each bucket
is marked as whole. An emptied Redis has no marks: until they are there, offers with contact limits are withheld.

Redis may also have lost only the end of what it was told (a power loss, with ``appendfsync everysec``). Then streams
end before what is archived, while clients may already have added to them. Each such stream is made to go on behind
the archived position with those entries that are not archived, so that none is skipped and none is counted twice.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.catalog.store import CatalogueStore
from decisioning.learning.store_archive_fold import fold_archive, reset_arms
from decisioning.learning.store_arms import ArmStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Identity, Outcome
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from decisioning.recovery.store_restore import DecisionRestorer
from storage.keys import Keys
from storage.locks import ARCHIVER_LOCK
from storage.postgres import transaction
from storage.redis import redis_errors

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Rebuilt:
    """The result of a rebuild: observations by policy, decisions that were missing, streams that had lost their end."""

    observations: dict[str, int]
    decisions: int = 0
    streams: int = 0


class Rebuilder:
    """Puts back what Redis lost."""

    def __init__(
        self,
        engine: AsyncEngine,
        redis: "Redis",
        keys: Keys,
        roster: Roster,
        catalogues: CatalogueStore,
        clock_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._catalogues = catalogues
        self._clock_ms = clock_ms
        self._redis = redis
        self._keys = keys
        self._roster = roster
        self._feed = RosterFeed(PolicyStore(engine), roster)
        self._reader = LogReader(redis, keys)
        self._arms = ArmStore(redis, keys)
        self._archive = ArchiveReader(engine)
        self._decisions = DecisionRestorer(engine, redis, keys)

    async def lost(self) -> bool:
        """Return whether Redis is behind Postgres: buckets are not whole, or arms are older than their archived folds.

        It may be wrong while an archiver is at work, but not the other way.
        """
        await self._feed.refresh()
        folds = {key: await self._archive.last_fold(key) for key in self._feed.live()}
        archived = await self._archive.positions()
        if await self._not_whole() or await self._reader.without(archived):
            return True
        epochs = {key: await self._arms.load_epoch(key) for key in folds}
        return any(epoch is None or epoch < folds[key] for key, epoch in epochs.items())

    async def restore_if_lost(self) -> Rebuilt | None:
        """Rebuild if ``lost`` says so; ``None`` if there was nothing to do, or it cannot be done just now.

        Raises
        ------
        RedisUnavailable, PostgresUnavailable
            If a store does not answer; it may be run again.
        """
        if not await self.lost():
            return None
        async with self._archiving_stopped("SELECT pg_try_advisory_xact_lock(:lock)") as stopped:
            if not stopped or not await self.lost():
                return None
            rebuilt = await self._rebuild()
        log.warning("redis was behind postgres; rebuilt: %s", rebuilt)
        return rebuilt

    async def rebuild(self) -> Rebuilt:
        """Rebuild everything.

        Raises
        ------
        RedisUnavailable, PostgresUnavailable
            If a store does not answer; it may be run again.
        """
        async with self._archiving_stopped("SELECT pg_advisory_xact_lock(:lock) IS NOT NULL"):
            return await self._rebuild()

    @asynccontextmanager
    async def _archiving_stopped(self, query: str) -> AsyncIterator[bool]:
        async with transaction(self._engine) as connection:
            yield bool(await connection.scalar(text(query), {"lock": ARCHIVER_LOCK}))

    async def _rebuild(self) -> Rebuilt:
        rebuilt = Rebuilt({})
        history_ms = (await self._catalogues.load()).history_ms
        archived = await self._archive.positions()
        ended = await self._reader.without(archived)
        # Unmarked until all is done, so that a rebuild that is broken off is done again.
        await self._mark(ended, whole=False)
        for bucket in sorted(ended):
            await self._resume(bucket, archived[bucket])
            rebuilt.streams += 1
        rebuilt.decisions = await self._decisions.restore(self._clock_ms(), history_ms)
        for key in await self._with_arms():
            rebuilt.observations[key] = await self._rebuild_arms(key, archived)
        await self._mark(range(self._keys.buckets), whole=True)
        return rebuilt

    async def _with_arms(self) -> list[str]:
        """The policies whose arms are put back. One that is still being warmed up notices, and starts anew."""
        await self._feed.refresh()
        return self._feed.live()

    async def _not_whole(self) -> bool:
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket in range(self._keys.buckets):
                pipe.exists(self._keys.whole(bucket))
            return not all(await pipe.execute())

    async def _mark(self, buckets: Iterable[int], *, whole: bool) -> None:
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket in buckets:
                if whole:
                    pipe.set(self._keys.whole(bucket), "1")
                else:
                    pipe.delete(self._keys.whole(bucket))
            await pipe.execute()

    async def _resume(self, bucket: int, position: StreamPosition) -> None:
        """Let a stream go on behind the archived position, with those of its entries that are not archived."""
        while True:
            last, entries = await self._reader.whole(bucket)
            identities = {at: _identities(entry) for at, entry in entries}
            known = await self._archive.among({i[0] for found in identities.values() for i in found})
            keep = [at for at, found in identities.items() if not found <= known]
            if await self._reader.resume(bucket, last, position, keep):
                return

    async def _rebuild_arms(self, key: str, archived: Mapping[int, StreamPosition]) -> int:
        folded = await fold_archive(self._archive, self._roster, key, archived)
        while not await reset_arms(self._arms, self._archive, self._keys, folded, archived):
            pass  # somebody has folded meanwhile
        return folded.taught


def _identities(entry: LoggedDecision | list[Outcome]) -> set[Identity]:
    if isinstance(entry, LoggedDecision):
        return {entry.decision.identity}
    return {outcome.identity for outcome in entry}
