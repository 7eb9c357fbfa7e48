"""Arms made of the archived log: for a new policy, and for what Redis has lost."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bandits.state import ArmTable
from decisioning.keys import Keys
from decisioning.learning import fold_outcomes
from decisioning.roster import Roster
from decisioning.stores.archive import ArchiveReader
from decisioning.stores.streams import GENERATION, START, Arms, ArmStore


@dataclass(slots=True)
class Folded:
    """The arms of ``key``, made of ``read`` outcomes of which ``taught`` taught it something."""

    key: str
    table: ArmTable
    read: int = 0
    taught: int = 0


async def _nobody(read: int) -> None:
    """Tell nobody."""


async def fold_archive(
    archive: ArchiveReader,
    roster: Roster,
    key: str,
    up_to: Mapping[int, str],
    on_progress: Callable[[int], Awaitable[None]] = _nobody,
) -> Folded:
    """Fold the archived outcomes at or before the positions ``up_to`` into new arms.

    ``on_progress`` is told how many outcomes have been read. The work is done in a thread, beside other tasks. Raises
    ``PostgresUnavailable``.
    """
    policy, spec = roster[key], roster.spec(key)
    folded = Folded(key, ArmTable(policy.width))
    batches = archive.observations(up_to, since_ms=spec.learn_since_ms, placements=spec.placements)
    async for outcomes in batches:
        deltas, taught = await asyncio.to_thread(fold_outcomes, outcomes, spec, policy)
        for name, delta in deltas.items():
            folded.table.add(name, delta)
        folded.read += len(outcomes)
        folded.taught += taught
        await on_progress(folded.read)
    return folded


async def reset_arms(
    arms: ArmStore, archive: ArchiveReader, keys: Keys, folded: Folded, positions: Mapping[int, str]
) -> bool:
    """Put arms in place that go on at ``positions``, as a new generation. False if somebody has changed them meanwhile.

    Raises ``RedisUnavailable`` or ``PostgresUnavailable``.
    """
    last_fold = await archive.last_fold(folded.key)
    epoch = await arms.load_epoch(folded.key)
    generation = 1 + max(epoch or 0, last_fold) // GENERATION
    everywhere = {bucket: positions.get(bucket, START) for bucket in range(keys.buckets)}
    fields = dict(folded.table.fields())
    return await arms.reset(folded.key, epoch, Arms(generation * GENERATION, everywhere, fields))
