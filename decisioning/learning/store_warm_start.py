"""Arms made of the archived log: for a new policy, for one that is linearised anew, and for what Redis has lost.

A warm start gives a new policy the arms that it would have, had it been there from the start. The archived log is
folded up to the positions P, read when the policy was known to be warming; then its arms are put in place at P, and the
learner goes on from there, without missing anything: nothing is trimmed behind arms that are not there yet (see
``PolicyStore.learning``), so streams keep all from P on. Whatever ends it in the middle leaves a policy that is still
marked as folding, and it is done anew; arms that are there already, of an earlier life of the policy, or put in place
just before the end, are replaced.

A logistic regression is folded in passes (``Relinearisation``), when it is warmed up and again while it is live. The
points of the last pass are kept in Postgres under the number of the generation that begins with them, before its arms
are put in place. Learner, rebuild and replay find them by that number: each generation is a fold of the log that
anybody can do again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from bandits.policy import Policy
from bandits.regression.linearisation import can_relinearise
from bandits.regression.regression_policy import RegressionPolicy
from bandits.sequential_policy import MODEL_FIELD, is_sequential
from bandits.state import ArmTable
from bandits.sums import OfferGroups
from decisioning.catalog.store import CatalogueStore
from decisioning.learning.fold import Linearisation, fold_outcomes, teach_outcomes
from decisioning.learning.linearisation import Relinearisation
from decisioning.learning.store_arms import GENERATION, Arms, ArmStore
from decisioning.learning.store_linearisation import (
    NEWEST,
    LinearisationRun,
    LinearisationStore,
    find_linearisation,
)
from decisioning.log.store_archive import NOWHERE, ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore, finish_warm_start
from storage import clock
from storage.keys import Keys
from storage.locks import ARCHIVER_LOCK
from storage.redaction import describe_error

log = logging.getLogger(__name__)

TELL_S = 0.3
"""The time between two notes of progress."""

Progress = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Folded:
    """The stored arms (or the model) of ``key``, made of ``read`` outcomes of which ``taught`` taught it something.

    ``linearisation``: one that no generation has yet, or ``None``: that of the newest, if it has one.
    """

    key: str
    fields: dict[str, bytes]
    read: int
    taught: int
    linearisation: Linearisation | None = None


class WarmStarter:
    """Makes policies warm, and linearises them anew. Several may try: one does it."""

    def __init__(
        self, engine: AsyncEngine, reader: LogReader, arms: ArmStore, keys: Keys, roster: Roster
    ) -> None:
        self._store = PolicyStore(engine)
        self._archive = ArchiveReader(engine)
        self._catalogues = CatalogueStore(engine)
        self.linearisations = LinearisationStore(engine)
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
            began_at = await self.linearisations.now()
            positions = await self._archive.positions()
            if await self._reader.without(positions):
                return False
            folded = await self._fold(key, positions)
            if not await self._put(folded, positions):
                return False
            await self.linearisations.note_run(key, LinearisationRun(began_at, folded.read))
            return True

    async def relinearise(self, key: str) -> bool:
        """Fold the arms of a live policy anew, linearised where they say now, as a new generation.

        False if another does it, the policy is not live, or there is nothing to do: its estimates stand, or Redis has
        to be rebuilt first. Raises as ``warm``.
        """
        async with self._store.lock_warm_start(key) as alone:
            if not alone or await self._arms.load_epoch(key) is None:
                return False
            began_at = await self.linearisations.now()
            positions = await self._archive.positions()
            folded = await self._fold(key, positions)
            changed = folded.linearisation is not None
            if changed and not await self._replace(folded, positions):
                return False
            await self._store.note_progress(key, folded.read, folded.read)
            await self.linearisations.note_run(key, LinearisationRun(began_at, folded.read))
            return changed

    async def _fold(self, key: str, positions: Mapping[int, StreamPosition]) -> Folded:
        spec, policy = self._roster.spec(key), self._roster[key]
        total = await self._archive.observed(since_ms=spec.learn_since_ms, placements=spec.placements)
        loop = asyncio.get_running_loop()
        told_s = loop.time()
        await self._store.note_progress(key, 0, total)

        async def tell(read: int) -> None:
            nonlocal told_s
            if loop.time() - told_s >= TELL_S:
                # Each further pass reads all once more.
                passes = max(-(-read // max(total, 1)), 1)
                await self._store.note_progress(key, read, max(total * passes, read))
                told_s = loop.time()

        if isinstance(policy, RegressionPolicy) and can_relinearise(policy):
            groups = (await self._catalogues.load()).offer_groups if policy.by_group else None
            return await relinearise_archive(
                self._archive, self._roster, key, policy, positions, tell, groups
            )
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
            if not await self._reset(folded, positions):
                return False
            await finish_warm_start(connection, folded.key, folded.read)
            return True

    async def _replace(self, folded: Folded, positions: Mapping[int, StreamPosition]) -> bool:
        """Put arms in the place of those of a live policy, brought up to date: streams are trimmed meanwhile."""
        now = await self._archive.positions()
        folded = await self._bring_up_to(folded, positions, now)
        # Under the lock nothing is archived, so nothing is trimmed behind the positions that are read here.
        async with self._store.hold_state(folded.key, "live", ARCHIVER_LOCK) as connection:
            archived = await self._archive.positions()
            if connection is None or await self._reader.without(archived):
                return False
            folded = await self._bring_up_to(folded, now, archived)
            while not await self._reset(folded, archived):
                if await self._arms.load_epoch(folded.key) is None:
                    return False
        return True

    async def _bring_up_to(
        self, folded: Folded, behind: Mapping[int, StreamPosition], up_to: Mapping[int, StreamPosition]
    ) -> Folded:
        policy, key = self._roster[folded.key], folded.key
        table = ArmTable(policy.width)
        table.put_all(folded.fields.items())
        # Also buckets that nothing was read of yet: behind their start.
        behind = {bucket: behind.get(bucket, StreamPosition.START) for bucket in up_to}
        read, taught = await _add_archive(
            self._archive, self._roster, key, table, up_to, folded.linearisation, behind=behind
        )
        fields = dict(table.fields())
        return Folded(key, fields, folded.read + read, folded.taught + taught, folded.linearisation)

    async def _reset(self, folded: Folded, positions: Mapping[int, StreamPosition]) -> bool:
        return await reset_arms(self._arms, self._archive, self.linearisations, self._keys, folded, positions)


async def _nobody(read: int) -> None: ...


async def fold_archive(
    archive: ArchiveReader,
    roster: Roster,
    key: str,
    up_to: Mapping[int, StreamPosition],
    on_progress: Progress = _nobody,
) -> Folded:
    """Fold the archived outcomes at or before the positions ``up_to`` into new arms.

    They are linearised as the newest generation is. ``on_progress`` is told how many outcomes have been read. Raises
    ``PostgresUnavailable``.
    """
    policy, spec = roster[key], roster.spec(key)
    # All sums and lessons are made in threads: other tasks of the worker go on meanwhile.
    if is_sequential(policy):
        read = taught = 0
        model = policy.fresh()
        in_order = archive.in_order(up_to, since_ms=spec.learn_since_ms, placements=spec.placements)
        async for outcomes in in_order:
            count, failures = await asyncio.to_thread(teach_outcomes, outcomes, spec, policy, model)
            if failures:
                log.warning("%s failed on %d outcomes: %s", key, len(failures), describe_error(failures[0]))
            read, taught = read + len(outcomes), taught + count
            await on_progress(read)
        return Folded(key, {MODEL_FIELD: await asyncio.to_thread(policy.pack, model)}, read, taught)
    table = ArmTable(policy.width)
    linearisation = await find_linearisation(archive, key, policy)
    read, taught = await _add_archive(archive, roster, key, table, up_to, linearisation, on_progress)
    return Folded(key, dict(table.fields()), read, taught)


async def _add_archive(
    archive: ArchiveReader,
    roster: Roster,
    key: str,
    table: ArmTable,
    up_to: Mapping[int, StreamPosition],
    linearisation: Linearisation | None,
    on_progress: Progress = _nobody,
    behind: Mapping[int, StreamPosition] = NOWHERE,
) -> tuple[int, int]:
    """Add archived outcomes to a table of arms; returns how many were read, and how many taught something."""
    policy: Policy = roster[key]
    spec = roster.spec(key)
    read = taught = 0
    batches = archive.observations(
        up_to, behind=behind, since_ms=spec.learn_since_ms, placements=spec.placements
    )
    async for outcomes in batches:
        deltas, count = await asyncio.to_thread(fold_outcomes, outcomes, spec, policy, linearisation)
        for name, delta in deltas.items():
            table.add(name, delta)
        read, taught = read + len(outcomes), taught + count
        await on_progress(read)
    return read, taught


async def relinearise_archive(
    archive: ArchiveReader,
    roster: Roster,
    key: str,
    policy: RegressionPolicy,
    up_to: Mapping[int, StreamPosition],
    on_progress: Progress = _nobody,
    groups: OfferGroups | None = None,
) -> Folded:
    """Fold as ``fold_archive``, in as many passes as it takes until the estimates stand.

    ``on_progress`` is told how many outcomes have been read in all passes. ``groups``: of all offers now, for a policy
    that learns by them.
    """
    spec = roster.spec(key)
    before = await find_linearisation(archive, key, policy)
    passes = Relinearisation(spec, policy, clock.now_ms(), before, groups)
    read_before = 0
    while True:
        read = taught = 0
        async for outcomes in archive.observations(
            up_to, since_ms=spec.learn_since_ms, placements=spec.placements
        ):
            taught += await asyncio.to_thread(passes.fold, outcomes)
            read += len(outcomes)
            await on_progress(read_before + read)
        if await asyncio.to_thread(passes.end_pass):
            new = None if passes.linearisation is before else passes.linearisation
            return Folded(key, dict(passes.table.fields()), read, taught, new)
        read_before += read


async def reset_arms(
    arms: ArmStore,
    archive: ArchiveReader,
    store: LinearisationStore,
    keys: Keys,
    folded: Folded,
    positions: Mapping[int, StreamPosition],
) -> bool:
    """Put arms in place that go on at ``positions``, as a new generation. False if somebody has changed them meanwhile.

    Raises ``RedisUnavailable`` or ``PostgresUnavailable``.
    """
    key = folded.key
    last_fold = await archive.last_fold(key)
    newest = await archive.linearisation(key, NEWEST)
    epoch = await arms.load_epoch(key)
    behind = max(max(epoch or 0, last_fold) // GENERATION, newest[0] if newest else 0)
    generation = await store.claim_generation(key, behind)
    if folded.linearisation is not None:
        # Before there are arms that need it. If they never come, those of a later generation begin with it.
        await store.put(key, generation, folded.linearisation)
    everywhere = {bucket: positions.get(bucket, StreamPosition.START) for bucket in range(keys.buckets)}
    return await arms.reset(key, epoch, Arms(generation * GENERATION, everywhere, folded.fields))
