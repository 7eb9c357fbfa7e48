"""The learner: it folds outcomes from the log into the arms of one policy, within milliseconds."""

import contextlib
import logging
import math
import time
from collections.abc import Mapping
from functools import partial

from app.metrics import FOLDED
from app.tracing.opening import OnFolded
from bandits.policy import FloatArray
from bandits.state import ArmTable
from decisioning.learning.fold import Linearisation, fold_outcomes, teaches
from decisioning.learning.store_arms import ArmStore
from decisioning.learning.store_linearisation import find_linearisation
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_shares import BucketShares
from decisioning.log.store_stream import Batch, LogReader
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.recovery.store_rebuild import Rebuilder
from storage.errors import RedisUnavailable

log = logging.getLogger(__name__)

ENTRIES_BATCH_SIZE = 500
BLOCK_MS = 1000
BLOCK_AMONG_OTHERS_MS = 250
"""The longest wait where there are other workers: one may have gone, and left its buckets to this one."""
READ_INTERVAL_S = 0.008
"""Entries that come faster are folded together: each fold stores whole arms, and tells all API processes of them."""
IDLE_READ_INTERVAL_S = 0.1
IDLE_AFTER_S = 10.0
"""A policy that decided nothing for so long, whose learner reads what others decided, rests longer."""
MOVE_INTERVAL_S = 1.0
"""Positions move so often at most where nothing was learned: every fold is kept for replays."""
MAX_FIELDS_PER_FOLD = 1000
"""Fields of arms in one fold; a server-side function cannot handle more than a few thousand."""


class Learner:
    """Fold one policy's arms from this worker's share of the buckets.

    It holds only copies of positions and sums, which the arms own: two of them with the same buckets do no harm.
    A worker that learns alone adds up by itself, since it holds up Redis for much longer; where others fold too, their
    changes are what it would have to know first, so Redis adds. ``on_folded`` is told of the outcomes that were folded.
    """

    def __init__(
        self,
        key: str,
        roster: Roster,
        reader: LogReader,
        arms: ArmStore,
        rebuilder: Rebuilder,
        archive: ArchiveReader,
        shares: BucketShares,
        on_folded: OnFolded | None = None,
    ) -> None:
        self.key = key
        self._policy, self._spec = roster[key], roster.spec(key)
        self._reader = reader
        self._arms = arms
        self._rebuilder = rebuilder
        self._archive = archive
        self._shares = shares
        self._on_folded = on_folded
        self._own = shares.own
        self._positions: dict[int, StreamPosition] | None = None
        self._table: ArmTable | None = None
        self._read: dict[int, StreamPosition] = {}
        self._loaded_s = 0.0
        self._moved_s = 0.0
        self._decided_s = -math.inf
        self._generation: int | None = None
        self._linearisation: Linearisation | None = None

    async def round(self) -> float:
        """Read what came, fold it; return how long to rest before the next round reads on. Raises ``Unavailable``."""
        if self._own != self._shares.own:
            self._own, self._positions = self._shares.own, None  # others have moved those of new buckets
        if not self._own:
            await self._shares.renew()
            return BLOCK_AMONG_OTHERS_MS / 1000
        if self._positions is None:
            arms = await self._arms.load(self.key)
            if arms is None:
                await self._rebuilder.restore_if_lost()
                return 0.05
            # What others have read before may be of a log that was lost: these arms may be those that were rebuilt.
            self._loaded_s = time.monotonic()
            if arms.generation != self._generation:
                self._linearisation = await find_linearisation(
                    self._archive, self.key, self._policy, arms.generation
                )
            self._positions, self._generation = arms.positions, arms.generation
            self._table = None
            if self._shares.alone:
                self._table = ArmTable(self._policy.width, arms.epoch)
                self._table.put_all(arms.fields.items())
            self._read = dict(arms.positions)
        try:
            batch = await self._reader.read(
                self._read,
                count=ENTRIES_BATCH_SIZE,
                block_ms=BLOCK_MS if self._shares.alone else BLOCK_AMONG_OTHERS_MS,
                decisions=False,
                buckets=self._own,
                kept_since_s=self._loaded_s,
            )
            began_s = time.monotonic()
            await self._fold(batch)
        except BaseException:
            self._positions = None  # whether the fold was done is not known: ask the arms
            raise
        await self._shares.renew()
        if batch.is_full or not batch.last:
            return 0.0
        return max(began_s + self._interval_s(batch, began_s) - time.monotonic(), 0.0)

    def _interval_s(self, batch: Batch, now_s: float) -> float:
        if any(outcome.policy == self.key for outcome in batch.outcomes):
            self._decided_s = now_s
        return READ_INTERVAL_S if now_s - self._decided_s < IDLE_AFTER_S else IDLE_READ_INTERVAL_S

    async def leave(self) -> None:
        """Give the buckets to other workers; if Redis is away, they take them by themselves."""
        with contextlib.suppress(RedisUnavailable):
            await self._shares.leave()

    async def _fold(self, batch: Batch) -> None:
        assert self._positions is not None
        deltas, count = fold_outcomes(batch.outcomes, self._spec, self._policy, self._linearisation)
        if len(deltas) > MAX_FIELDS_PER_FOLD and len(parts := _divide(batch)) > 1:
            for part in parts:
                if self._positions is not None:  # the one before was folded
                    await self._fold(part)
            return
        self._read.update(batch.last)
        moves = [
            (bucket, before, position)
            for bucket, position in self._read.items()
            if (before := self._positions.get(bucket, StreamPosition.START)) != position
        ]
        now_s = time.monotonic()
        if not moves or (not deltas and batch.last and now_s - self._moved_s < MOVE_INTERVAL_S):
            return  # with what is learned next, or when nothing more comes
        if await self._store(moves, deltas):
            self._positions, self._moved_s = dict(self._read), now_s
            FOLDED.labels(self.key).inc(count)
            if self._on_folded is not None and deltas:
                self._on_folded(
                    self.key, batch.outcomes, partial(teaches, spec=self._spec, policy=self._policy)
                )
        else:
            # Another learner read the same entries and was faster: go on from where it moved the position.
            self._positions = None

    async def _store(
        self, moves: list[tuple[int, StreamPosition, StreamPosition]], deltas: Mapping[str, FloatArray]
    ) -> bool:
        """Add to the arms and move positions, all or nothing; return whether that was done."""
        table = self._table
        if table is None:
            return await self._arms.fold(self.key, self._generation or 0, moves, deltas)
        for name, delta in deltas.items():
            table.add(name, delta)
        states = {name: table.encode(name) for name in deltas}
        if not await self._arms.put(self.key, table.epoch, moves, states):
            return False
        table.epoch += 1
        return True


def _divide(batch: Batch) -> list[Batch]:
    """Divide a batch into smaller ones to be folded one after the other; into one if it cannot be divided."""
    if len(batch.last) > 1:
        return [
            Batch({bucket: last}, [], [o for o in batch.outcomes if o.bucket == bucket])
            for bucket, last in batch.last.items()
        ]
    ((bucket, last),) = batch.last.items()
    # All outcomes of one log entry share its position: an entry is folded as a whole, or not at all.
    middle = batch.outcomes[(len(batch.outcomes) - 1) // 2].position
    before = [o for o in batch.outcomes if o.position <= middle]
    behind = batch.outcomes[len(before) :]
    return [Batch({bucket: middle}, [], before), Batch({bucket: last}, [], behind)] if behind else [batch]
