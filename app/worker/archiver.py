"""The archiver: it copies the log into Postgres, and trims the streams behind what is durable."""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from app.metrics import ARCHIVE_LAG, ARCHIVED, DEAD_LETTERS, LEARNER_STILL, SET_ASIDE
from app.worker.learning.still_learners import MAX_STILL_S, StillLearners
from bandits.sequential_policy import is_sequential
from bandits.state import is_forgotten
from decisioning.learning.store_arms import ArmStore
from decisioning.log.checkpoints import Checkpoint
from decisioning.log.store_archive import Archiver
from decisioning.log.store_stream import LogReader
from decisioning.log.store_watch import note_failure
from decisioning.model.position import StreamPosition
from decisioning.policies.store_roster import RosterFeed
from storage import clock
from storage.errors import RedisUnavailable

log = logging.getLogger(__name__)

ENTRIES_BATCH_SIZE = 1000
CHANGES_BATCH_SIZE = 5000
DROPPED_AT_ONCE = 1000
"""Fields that Redis deletes at once."""
CHECKPOINT_OUTCOMES = 20_000
"""The outcomes that are archived between two checkpoints of a policy's arms: about the most that a replay folds."""
FIRST_SHARE = 50
"""The first checkpoint of a process comes after this part of them."""
BYTES_AN_OUTCOME = 30
"""The most that checkpoints may take, a tenth of what an outcome takes in the archive: large arms are kept seldom."""
RETAIN_MS = 300_000
"""Decisions stay in their streams for so long, so that a retry with a caller's own id needs no Postgres."""
TRIM_INTERVAL_S = 10.0
CHANGES_RETENTION = 2000
"""Changes of arms that stay in their stream, for followers that were away for a moment."""


@dataclass
class ArchiverJob:
    """Archive all buckets in batches. Of several, one is at work at a time; positions move with the data."""

    archiver: Archiver
    reader: LogReader
    arms: ArmStore
    feed: RosterFeed
    interval_s: float
    max_still_s: float = MAX_STILL_S
    retain_ms: int = RETAIN_MS
    checkpoint_outcomes: int = CHECKPOINT_OUTCOMES
    still: StillLearners = field(default_factory=StillLearners)
    also_needed: Callable[[int], Awaitable[Mapping[int, StreamPosition]]] | None = None
    """Reads up to where others than policies have followed the log, given the time (Unix ms)."""
    _forgotten: set[str] = field(default_factory=set, init=False)
    _trimmed_s: float = field(default=-TRIM_INTERVAL_S, init=False)
    _archived: int = field(default=0, init=False)
    _next_checkpoint: dict[str, int] = field(default_factory=dict, init=False)

    async def round(self) -> float:
        """Archive one batch of entries and folds; return how long to sleep. Raises ``Unavailable``."""
        try:
            return await self._round()
        except Exception as error:
            with contextlib.suppress(RedisUnavailable):
                await note_failure(self.reader.redis, error)
            raise

    async def _round(self) -> float:
        self._forgotten &= {key for key, state in self.feed.states.items() if state == "retired"}
        now = clock.to_datetime(clock.now_ms())
        await self.archiver.make_partitions(now)
        async with self.archiver.turn() as positions:
            if positions is None:
                return self.interval_s  # another archiver is at it
            batch = await self.reader.read(positions, count=ENTRIES_BATCH_SIZE, block_ms=None, decisions=True)
            lacking = self.archiver.lacking(batch, now)
            if batch.last and not lacking:
                DEAD_LETTERS.inc(await self.archiver.write(batch, self.reader.entry))
        if lacking:
            await self.archiver.make_partitions(now, batch)
            return 0.0
        if not batch.last:
            if time.monotonic() - self._trimmed_s >= TRIM_INTERVAL_S:
                # Of what was archived earlier, some is old enough by now.
                await self._trim(positions, (await self._arms_positions()).values())
            await self._archive_folds()
            return self.interval_s
        ARCHIVED.labels("decided").inc(len(batch.decided))
        ARCHIVED.labels("outcome").inc(len(batch.outcomes))
        ARCHIVED.labels("event").inc(len(batch.events))
        self._archived += len(batch.outcomes)
        newest_ms = max(position.at_ms for position in batch.last.values())
        ARCHIVE_LAG.set(max(clock.now_ms() - newest_ms, 0) / 1000)
        # Policies are listed after the batch was archived: one that begins to be warmed up later folds it from there.
        arms = await self._arms_positions()
        waited_for = [
            folded for key, folded in arms.items() if not await self._set_aside(key, folded, batch.last)
        ]
        await self._trim({**positions, **batch.last}, waited_for)
        await self._archive_folds()
        # At once while there is a backlog.
        return 0.0 if len(batch) > ENTRIES_BATCH_SIZE else self.interval_s

    async def _arms_positions(self) -> dict[str, Mapping[int, StreamPosition]]:
        return {key: await self.arms.load_positions(key) for key in await self.feed.learning()}

    async def _trim(
        self, archived: Mapping[int, StreamPosition], arms: Iterable[Mapping[int, StreamPosition]]
    ) -> None:
        """Trim the streams behind what is archived, and folded into all ``arms``.

        Unless Redis is nearly full, also behind what is older than ``retain_ms``, and what others have read.
        """
        durable = dict(archived)
        self._trimmed_s = time.monotonic()
        for folded in arms:
            for bucket, position in durable.items():
                durable[bucket] = min(position, folded.get(bucket, StreamPosition.START))
        # Where memory is short, only what is not durable yet is worth it.
        is_nearly_full = await self.reader.is_nearly_full()
        if self.also_needed is not None and not is_nearly_full:
            for bucket, position in (await self.also_needed(clock.now_ms())).items():
                durable[bucket] = min(position, durable.get(bucket, StreamPosition.START))
        if self.retain_ms and not is_nearly_full:
            since = StreamPosition(f"{clock.now_ms() - self.retain_ms}-0")
            durable = {bucket: min(position, since) for bucket, position in durable.items()}
        await self.reader.trim({b: p for b, p in durable.items() if p != StreamPosition.START})

    async def _set_aside(
        self, key: str, arms: Mapping[int, StreamPosition], archived: Mapping[int, StreamPosition]
    ) -> bool:
        """Wait no longer for a live policy whose learner stands still; return whether that is so.

        One that came with nextbest, or is being warmed up, is waited for.
        """
        still_s = self.still.still_s(key, arms, archived)
        LEARNER_STILL.labels(key).set(still_s)
        reason = (
            f"its learner folded nothing for {still_s:.0f} s, so the log waits for it no longer;"
            " it will be folded anew from the archive"
        )
        if still_s < self.max_still_s or not await self.feed.store.set_aside(key, reason):
            return False
        self.still.forget(key)
        SET_ASIDE.labels(key).inc()
        log.error("policy %s is set aside: %s", key, reason)
        return True

    async def _archive_folds(self) -> None:
        for key in self.feed.live():
            await self._archive_folds_of(key)
            if self._archived >= self._next_checkpoint.setdefault(
                key, self.checkpoint_outcomes // FIRST_SHARE
            ):
                await self._write_checkpoint(key)
        for key, state in self.feed.states.items():
            if state == "retired" and key not in self._forgotten:
                await self._forget_arms(key)

    async def _archive_folds_of(self, key: str) -> int:
        """Archive what was folded into a policy's arms; return the newest epoch that is archived."""
        last = await self.archiver.last_fold(key)
        found = await self.arms.changes({key: last}, count=CHANGES_BATCH_SIZE, block_ms=None)
        if not found:
            return last
        changes = list(found[key])
        moves = [(c.epoch, b, p) for c in changes for b, p in c.positions.items()]
        await self.archiver.write_folds(key, moves)
        await self.arms.trim_changes(key, changes[-1].epoch - CHANGES_RETENTION)
        return changes[-1].epoch

    async def _write_checkpoint(self, key: str) -> None:
        """Keep the arms of a policy as they are now, unless it is one whose order of learning matters."""
        # Moved first, so that what cannot be kept now is not tried again with every batch.
        self._next_checkpoint[key] = self._archived + self.checkpoint_outcomes
        policy = self.feed.policy(key)
        arms = None if is_sequential(policy) else await self.arms.load(key)
        size = 0
        if arms is not None:
            # A replay needs the folds up to the checkpoint as well.
            if await self._archive_folds_of(key) < arms.epoch:
                self._next_checkpoint[key] = self._archived  # with the next batch
                return
            now_s = clock.now_ms() / 1000.0
            kept, gone = dict(arms.fields), []
            for field in arms.fields:
                if is_forgotten(field, policy.decay, now_s):
                    del kept[field]
                    gone.append(field)
            size = await self.archiver.write_checkpoint(key, Checkpoint(arms.epoch, arms.positions, kept))
            for first in range(0, len(gone), DROPPED_AT_ONCE):
                await self.arms.drop_fields(key, gone[first : first + DROPPED_AT_ONCE])
        due = max(self.checkpoint_outcomes, size // BYTES_AN_OUTCOME)
        self._next_checkpoint[key] = self._archived + due

    async def _forget_arms(self, key: str) -> None:
        """Delete the arms of a retired policy, once everything is archived that a replay needs."""
        async with self.feed.store.hold_state(key, "retired") as held:
            epoch = None if held is None else await self.arms.load_epoch(key)
            # A replay needs the position of every fold, so arms go only once the last of them is archived.
            if epoch is None or (
                await self._archive_folds_of(key) >= epoch and await self.arms.forget(key, epoch)
            ):
                self._forgotten.add(key)
