"""Arms made of the archived log: for a new policy, and for what Redis has lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from bandits.policy import PolicySpec
from bandits.sequential_policy import MODEL_FIELD, SequentialPolicy, is_sequential
from bandits.state import ArmTable
from decisioning.learning.fold import fold_outcomes, teach_outcomes
from decisioning.learning.store_arms import GENERATION, Arms, ArmStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from storage.keys import Keys

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PackedModel:
    """The model of a sequential policy in its stored form, in the place of arms."""

    blob: bytes

    def fields(self) -> Iterator[tuple[str, bytes]]:
        """The one field that it takes."""
        yield MODEL_FIELD, self.blob


@dataclass(slots=True)
class Folded:
    """The arms of ``key``, made of ``read`` outcomes of which ``taught`` taught it something."""

    key: str
    table: ArmTable | PackedModel
    read: int = 0
    taught: int = 0


async def _nobody(read: int) -> None:
    """Tell nobody."""


async def fold_archive(
    archive: ArchiveReader,
    roster: Roster,
    key: str,
    up_to: Mapping[int, StreamPosition],
    on_progress: Callable[[int], Awaitable[None]] = _nobody,
) -> Folded:
    """Fold the archived outcomes at or before the positions ``up_to`` into new arms.

    ``on_progress`` is told how many outcomes have been read. The work is done in a thread, beside other tasks. Raises
    ``PostgresUnavailable``.
    """
    policy, spec = roster[key], roster.spec(key)
    if is_sequential(policy):
        return await _teach_archive(archive, policy, spec, up_to, on_progress)
    table = ArmTable(policy.width)
    folded = Folded(key, table)
    batches = archive.observations(up_to, since_ms=spec.learn_since_ms, placements=spec.placements)
    async for outcomes in batches:
        deltas, taught = await asyncio.to_thread(fold_outcomes, outcomes, spec, policy)
        for name, delta in deltas.items():
            table.add(name, delta)
        folded.read += len(outcomes)
        folded.taught += taught
        await on_progress(folded.read)
    return folded


async def _teach_archive(
    archive: ArchiveReader,
    policy: SequentialPolicy,
    spec: PolicySpec,
    up_to: Mapping[int, StreamPosition],
    on_progress: Callable[[int], Awaitable[None]],
) -> Folded:
    """Teach a fresh model the archived outcomes in their one order, in a thread."""
    model = policy.fresh()
    read = taught = 0
    batches = archive.in_order(up_to, since_ms=spec.learn_since_ms, placements=spec.placements)
    async for outcomes in batches:
        count, failures = await asyncio.to_thread(teach_outcomes, outcomes, spec, policy, model)
        if failures:
            log.warning("%s failed on %d outcomes: %r", spec.key, len(failures), failures[0])
        read += len(outcomes)
        taught += count
        await on_progress(read)
    return Folded(spec.key, PackedModel(await asyncio.to_thread(policy.pack, model)), read, taught)


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
    generation = 1 + max(epoch or 0, last_fold) // GENERATION
    everywhere = {bucket: positions.get(bucket, StreamPosition.START) for bucket in range(keys.buckets)}
    fields = dict(folded.table.fields())
    return await arms.reset(folded.key, epoch, Arms(generation * GENERATION, everywhere, fields))
