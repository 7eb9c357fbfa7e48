"""Arms made of the archived log: for a new policy, and for what Redis has lost.

A warm start gives a new policy the arms that it would have, had it been there from the start. The archived log is
folded up to the positions P, read when the policy was known to be warming; then its arms are put in place at P, and the
learner goes on from there, without missing anything: nothing is trimmed behind arms that are not there yet (see
``PolicyStore.learning``), so streams keep all from P on. Whatever ends it in the middle leaves a policy that is still
marked as folding, and it is done anew; arms that are there already, of an earlier life of the policy, or put in place
just before the end, are replaced.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from bandits.sequential_policy import MODEL_FIELD, is_sequential
from bandits.state import ArmTable
from decisioning.learning.fold import fold_outcomes, teach_outcomes
from decisioning.learning.store_arms import GENERATION, Arms, ArmStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore, finish_warm_start
from storage.keys import Keys
from storage.locks import ARCHIVER_LOCK

log = logging.getLogger(__name__)

TELL_S = 0.3
"""The time between two notes of progress."""


@dataclass(frozen=True, slots=True)
class Folded:
    """The stored arms (or the model) of ``key``, made of ``read`` outcomes of which ``taught`` taught it something."""

    key: str
    fields: dict[str, bytes]
    read: int
    taught: int


class WarmStarter:
    """Makes policies warm. Several may try: one does it."""

    def __init__(
        self, engine: AsyncEngine, reader: LogReader, arms: ArmStore, keys: Keys, roster: Roster
    ) -> None:
        self._store = PolicyStore(engine)
        self._archive = ArchiveReader(engine)
        self._reader = reader
        self._arms = arms
        self._keys = keys
        self._roster = roster

    async def warm(self, key: str) -> bool:
        """Warm ``key`` up; False if another does it, it is not wanted any more, or Redis has to be rebuilt first.

        Raises ``RedisUnavailable`` or ``PostgresUnavailable``; then it is to be done again, as after a False.
        """
        async with self._store.lock_warm_start(key) as alone:
            if not alone or not await self._store.begin_warm_start(key):
                return False
            positions = await self._archive.positions()
            if await self._reader.without(positions):
                return False
            folded = await self._fold(key, positions)
            return await self._put(folded, positions)

    async def _fold(self, key: str, positions: Mapping[int, StreamPosition]) -> Folded:
        spec = self._roster.spec(key)
        total = await self._archive.observed(since_ms=spec.learn_since_ms, placements=spec.placements)
        loop = asyncio.get_running_loop()
        told_s = loop.time()
        await self._store.note_progress(key, 0, total)

        async def tell(read: int) -> None:
            nonlocal told_s
            if loop.time() - told_s >= TELL_S:
                await self._store.note_progress(key, read, max(total, read))
                told_s = loop.time()

        return await fold_archive(self._archive, self._roster, key, positions, tell)

    async def _put(self, folded: Folded, positions: Mapping[int, StreamPosition]) -> bool:
        async with self._store.hold_state(folded.key, "folding", ARCHIVER_LOCK) as connection:
            if connection is None:
                return False
            # Redis may have been lost, and rebuilt with streams that go on behind P and have no entry at P any more.
            # That is looked at while archiving stands still, when nothing can be rebuilt.
            archived = await self._archive.positions()
            if archived.keys() - positions.keys() or await self._reader.without(positions):
                return False  # nobody knows whether the streams still hold all that came after
            if not await reset_arms(self._arms, self._archive, self._keys, folded, positions):
                return False
            await finish_warm_start(connection, folded.key, folded.read)
            return True


async def _nobody(read: int) -> None: ...


async def fold_archive(
    archive: ArchiveReader,
    roster: Roster,
    key: str,
    up_to: Mapping[int, StreamPosition],
    on_progress: Callable[[int], Awaitable[None]] = _nobody,
) -> Folded:
    """Fold the archived outcomes at or before the positions ``up_to`` into new arms.

    ``on_progress`` is told how many outcomes have been read. Raises ``PostgresUnavailable``.
    """
    policy, spec = roster[key], roster.spec(key)
    read = taught = 0
    # All sums and lessons are made in threads: other tasks of the worker go on meanwhile.
    if is_sequential(policy):
        model = policy.fresh()
        in_order = archive.in_order(up_to, since_ms=spec.learn_since_ms, placements=spec.placements)
        async for outcomes in in_order:
            count, failures = await asyncio.to_thread(teach_outcomes, outcomes, spec, policy, model)
            if failures:
                log.warning("%s failed on %d outcomes: %r", key, len(failures), failures[0])
            read, taught = read + len(outcomes), taught + count
            await on_progress(read)
        return Folded(key, {MODEL_FIELD: await asyncio.to_thread(policy.pack, model)}, read, taught)
    table = ArmTable(policy.width)
    batches = archive.observations(up_to, since_ms=spec.learn_since_ms, placements=spec.placements)
    async for outcomes in batches:
        deltas, count = await asyncio.to_thread(fold_outcomes, outcomes, spec, policy)
        for name, delta in deltas.items():
            table.add(name, delta)
        read, taught = read + len(outcomes), taught + count
        await on_progress(read)
    return Folded(key, dict(table.fields()), read, taught)


async def reset_arms(
    arms: ArmStore,
    archive: ArchiveReader,
    keys: Keys,
    folded: Folded,
    positions: Mapping[int, StreamPosition],
) -> bool:
    """Put arms in place that go on at ``positions``, as a new generation. False if somebody has changed them meanwhile.

    Raises ``RedisUnavailable`` or ``PostgresUnavailable``.
    """
    last_fold = await archive.last_fold(folded.key)
    epoch = await arms.load_epoch(folded.key)
    # Above the archived folds too: Redis may have lost epochs that others have seen.
    generation = 1 + max(epoch or 0, last_fold) // GENERATION
    everywhere = {bucket: positions.get(bucket, StreamPosition.START) for bucket in range(keys.buckets)}
    return await arms.reset(folded.key, epoch, Arms(generation * GENERATION, everywhere, folded.fields))
