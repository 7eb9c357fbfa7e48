"""Rebuilding what a lost Redis held, from the log in Postgres: arms, contact history, decisions that still wait.

Safe while the system runs. What is still in the streams behind the archived positions is folded again by the learner,
whose earlier readings are void.

Redis may also have lost only the end of what it was told (a power loss, with ``appendfsync everysec``). Then streams
end before what is archived, while clients may already have added to them.
"""

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.events.store_archive import EventArchive
from decisioning.events.store_events import kept_ms
from decisioning.learning.store_arms import ArmStore
from decisioning.learning.store_linearisation import LinearisationStore
from decisioning.learning.store_warm_start import fold_archive, reset_arms
from decisioning.log.codec import Said
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.merging.store_aliases import Alias, AliasStore
from decisioning.model.decision import LoggedDecision
from decisioning.model.logged_event import EventKey, LoggedEvent
from decisioning.model.outcome import Identity
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from decisioning.recovery.store_aliases import AliasRestorer
from decisioning.recovery.store_events import EventRestorer, Kept
from decisioning.recovery.store_restore import DecisionRestorer
from profiles.events.fold import fold
from storage.errors import RedisUnavailable
from storage.functions import function_name
from storage.keys import Keys
from storage.locks import ARCHIVER_LOCK
from storage.postgres import transaction
from storage.redis import redis_errors
from storage.redis_server import RedisServer

log = logging.getLogger(__name__)

MAX_PASSES = 100
SETTLE_S = 2
"""So long after its start is a server's history taken as whole at the earliest."""


@dataclass(slots=True)
class Rebuilt:
    """The result of a rebuild: observations by policy, decisions that were missing, streams that had lost their end.

    ``customers``: those of whom events are archived that still matter.
    """

    observations: dict[str, int]
    decisions: int = 0
    streams: int = 0
    customers: int = 0


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
        self._linearisations = LinearisationStore(engine)
        self._events = EventArchive(engine)
        self._decisions = DecisionRestorer(engine, redis, keys)
        self._aliases = AliasRestorer(AliasStore(engine), redis, keys, clock_ms)

    async def lost(self) -> bool:
        """Return whether Redis is behind Postgres: buckets are not whole, or arms are older than their archived folds.

        It may be wrong while an archiver is at work, but not the other way.
        """
        await self._feed.refresh()
        folds = {key: await self._archive.last_fold(key) for key in self._feed.live()}
        archived = await self._archive.positions()
        if not all(await self._marks()) or await self._reader.without(archived):
            return True
        epochs = {key: await self._arms.load_epoch(key) for key in folds}
        return any(epoch is None or epoch < folds[key] for key, epoch in epochs.items())

    async def _vouch(self) -> None:
        """Mark buckets as whole for a server that was started since they were marked last, and has lost nothing.

        Not at once: API processes may have to tell it first what it was not told, or has forgotten.
        """
        server = await self._server()
        marks = await self._marks()
        if server.uptime_s >= SETTLE_S and any(mark != (server.run_id or "1") for mark in marks):
            await self._mark(range(self._keys.buckets), whole=True)

    async def restore_if_lost(self) -> Rebuilt | None:
        """Rebuild if ``lost`` says so; ``None`` if there was nothing to do, or it cannot be done just now.

        Raises as ``rebuild``.
        """
        if not await self.lost():
            await self._vouch()
            return None
        async with self._archiving_stopped("SELECT pg_try_advisory_xact_lock(:lock)") as stopped:
            if not stopped or not await self.lost():
                return None
            rebuilt = await self._rebuild()
        log.warning("redis was behind postgres; rebuilt: %s", rebuilt)
        return rebuilt

    async def rebuild(self) -> Rebuilt:
        """Rebuild everything.

        Raises ``RedisUnavailable`` or ``PostgresUnavailable`` if a store does not answer; it may be run again.
        """
        async with self._archiving_stopped("SELECT pg_advisory_xact_lock(:lock) IS NOT NULL"):
            return await self._rebuild()

    @asynccontextmanager
    async def _archiving_stopped(self, query: str) -> AsyncIterator[bool]:
        # So the archived positions do not move, and nothing is trimmed behind them.
        async with transaction(self._engine) as connection:
            yield bool(await connection.scalar(text(query), {"lock": ARCHIVER_LOCK}))

    async def _rebuild(self) -> Rebuilt:
        rebuilt = Rebuilt({})
        catalogue = await self._catalogues.load()
        history_ms = catalogue.history_ms
        archived = await self._archive.positions()
        ended = await self._reader.without(archived)
        # Unmarked until all is done, so that a rebuild that is broken off is done again.
        await self._mark(ended, whole=False)
        for bucket in sorted(ended):
            await self._resume(bucket, archived[bucket])
            rebuilt.streams += 1
        known = await self._aliases.recent()
        await self._aliases.redirect()
        rebuilt.decisions = await self._decisions.restore(self._clock_ms(), history_ms)
        rebuilt.customers = await self._rebuild_events(catalogue, archived)
        await self._aliases.hand_over()
        await self._rebuild_merged(catalogue, archived, known)
        await self._feed.refresh()
        # Without those that are still being warmed up: whoever does it notices, and starts anew.
        for key in self._feed.live():
            rebuilt.observations[key] = await self._rebuild_arms(key, archived)
        # An emptied Redis has no marks: until they are there, offers with contact limits are withheld.
        await self._mark(range(self._keys.buckets), whole=True)
        return rebuilt

    async def _server(self) -> RedisServer:
        async with redis_errors():
            info = await self._redis.info()
        return RedisServer.from_info({name: str(value) for name, value in info.items()})

    async def _marks(self) -> list[str]:
        names = [self._keys.whole(bucket) for bucket in range(self._keys.buckets)]
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.get(name)
            return [(mark or b"").decode() for mark in await pipe.execute()]

    async def _mark(self, buckets: Iterable[int], *, whole: bool) -> None:
        run_id = (await self._server()).run_id if whole else ""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket in buckets:
                if whole:
                    # By a function: a Redis that is full takes no plain write, and must drain.
                    pipe.fcall(function_name("nb_mark_whole"), 1, self._keys.whole(bucket), run_id or "1")
                else:
                    pipe.delete(self._keys.whole(bucket))
            await pipe.execute()

    async def _resume(self, bucket: int, position: StreamPosition) -> None:
        """Let a stream go on behind the archived position, with those of its entries that are not archived."""
        while True:
            last, entries = await self._reader.whole(bucket)
            known = await self._archived_of([entry for _, entry in entries if entry is not None])
            # None may be skipped, and none counted twice.
            # What cannot be read is kept for the archiver, which sets it aside, if it has not yet.
            keep = [at for at, entry in entries if entry is None or not _identities(entry) <= known]
            if await self._reader.resume(bucket, last, position, keep):
                return

    async def _archived_of(self, entries: Sequence[Said]) -> set[Identity | EventKey]:
        """Find out what of these entries is archived."""
        events = {entry.key for entry in entries if isinstance(entry, LoggedEvent)}
        others = [entry for entry in entries if not isinstance(entry, LoggedEvent)]
        decisions = {str(identity[0]) for entry in others for identity in _identities(entry)}
        return {*await self._archive.among(decisions), *await self._events.among(events)}

    async def _rebuild_merged(
        self, catalogue: Catalogue, archived: Mapping[int, StreamPosition], known: Mapping[str, Alias]
    ) -> None:
        """Put back once more what became part of a customer while it was put back. ``known``: aliases of before."""
        # Whoever is merged after both were put back needs nothing: the merge hands over all there is. So each pass is
        # about fewer than the one before.
        seen = set(known)
        names: set[str] | None = None
        for _ in range(MAX_PASSES):
            new = [one for name, one in (await self._aliases.recent()).items() if name not in seen]
            seen.update(one.alias for one in new)
            names = await self._aliases.merged_beside(new, names)
            if not names:
                return
            await self._rebuild_events(catalogue, archived, names)
            await self._aliases.hand_over([one for one in new if one.alias in names])
        raise RedisUnavailable("visitors were merged whenever they were put back; try again")

    async def _rebuild_events(
        self,
        catalogue: Catalogue,
        archived: Mapping[int, StreamPosition],
        names: Collection[str] | None = None,
    ) -> int:
        definitions = catalogue.event_definitions
        kept = Kept(kept_ms(definitions), catalogue.history_ms)
        restorer = EventRestorer(
            self._events,
            AliasStore(self._engine),
            self._redis,
            self._keys,
            partial(fold, definitions),
            kept,
            self._clock_ms(),
        )
        return await restorer.restore(archived, names)

    async def _rebuild_arms(self, key: str, archived: Mapping[int, StreamPosition]) -> int:
        folded = await fold_archive(self._archive, self._roster, key, archived)
        while not await reset_arms(
            self._arms, self._archive, self._linearisations, self._keys, folded, archived
        ):
            pass  # somebody has folded meanwhile, so the arms are ahead of these positions
        return folded.taught


def _identities(entry: Said) -> set[Identity | EventKey]:
    if isinstance(entry, LoggedEvent):
        return {entry.key}
    if isinstance(entry, LoggedDecision):
        return {entry.decision.identity}
    return {outcome.identity for outcome in entry}
