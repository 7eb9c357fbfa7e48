"""The teacher: what the learner is for sequential policies. One owner at a time teaches the model, in a thread."""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from app.metrics import FOLDED
from app.worker.jobs import repeat
from bandits.sequential_policy import MODEL, SequentialPolicy
from decisioning.learning.fold import in_order, teach_outcomes
from decisioning.learning.store_arms import ArmStore
from decisioning.learning.store_models import ModelStore
from decisioning.log.store_stream import Batch, LogReader
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.recovery.store_rebuild import Rebuilder
from storage.errors import Unavailable

log = logging.getLogger(__name__)

ENTRIES = 500
BLOCK_MS = 500
LEASE_MS = 5_000
WAIT_S = 1.0
"""How often those who are not the owner ask whether they can be."""
PAUSE_S = 0.05
PACK_SHARE = 2.0
"""Between two folds it rests for so many times as long as packing took, so that most time goes into teaching."""
LESSON_S = 0.25
"""About how long one lesson takes: between two the lease is renewed, and the model stored."""
LEAST, MOST = 50, 20_000


@dataclass(slots=True)
class _Held:
    """The model in memory, as it is stored at ``epoch``."""

    model: Any
    epoch: int
    positions: dict[int, StreamPosition]


class ModelTrainer:
    """Teaches one policy's model. Any number of them may run: the one that holds the lease does the work.

    Whatever is not known to be stored is forgotten, and read from the store again.
    """

    def __init__(
        self,
        key: str,
        roster: Roster,
        policy: SequentialPolicy,
        reader: LogReader,
        arms: ArmStore,
        models: ModelStore,
        rebuilder: Rebuilder,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self.key = key
        self.name = uuid4().hex
        self._policy, self._spec = policy, roster.spec(key)
        self._reader = reader
        self._arms = arms
        self._models = models
        self._rebuilder = rebuilder
        self._lease_ms = lease_ms
        self._held: _Held | None = None
        self._at_once = LEAST

    async def round(self) -> float:
        """Own the model, read what came, teach it, store; returns how long to sleep.

        Raises ``RedisUnavailable`` or ``PostgresUnavailable`` if a store does not answer, ``StateCodecError`` if the
        model cannot be stored or read.
        """
        token = await self._models.own(self.key, self.name, self._lease_ms)
        if token is None:
            self._held = None
            return WAIT_S
        if self._held is None and not await self._load():
            await self._rebuilder.restore_if_lost()
            return PAUSE_S
        assert self._held is not None
        try:
            batch = await self._reader.read(
                self._held.positions, count=ENTRIES, block_ms=BLOCK_MS, decisions=False
            )
            if not batch.last:
                return PAUSE_S
            part = first_part(batch, self._at_once)
            rest_s = await self._teach(token, self._held, part)
        except BaseException:
            self._held = None  # what is stored is not known any more
            raise
        return 0.0 if len(part) < len(batch) else rest_s

    async def close(self) -> None:
        """Let another become the owner at once. Raises ``RedisUnavailable``."""
        await self._models.disown(self.key, self.name)

    async def _load(self) -> bool:
        arms = await self._arms.load(self.key)
        if arms is None:
            return False
        blob = arms.fields.get(MODEL)
        model = self._policy.fresh() if blob is None else await asyncio.to_thread(self._policy.unpack, blob)
        self._held = _Held(model, arms.epoch, arms.positions)
        return True

    async def _teach(self, token: str, held: _Held, batch: Batch) -> float:
        started_s = time.monotonic()
        taught, failures = await asyncio.to_thread(
            teach_outcomes, in_order(batch.outcomes), self._spec, self._policy, held.model
        )
        taught_s = time.monotonic()
        blob = await asyncio.to_thread(self._policy.pack, held.model) if taught else None
        packed_s = time.monotonic()
        if failures:
            log.warning("%s failed on %d outcomes: %r", self.key, len(failures), failures[0])
        moves = [(b, held.positions.get(b, StreamPosition.START), last) for b, last in batch.last.items()]
        epoch = await self._models.replace(self.key, token, held.epoch, moves, blob)
        if epoch is None:
            self._held = None
            return 0.0
        held.epoch = epoch
        held.positions.update(batch.last)
        FOLDED.labels(self.key).inc(taught)
        self._pace(taught, taught_s - started_s, packed_s - taught_s)
        return max(PAUSE_S, PACK_SHARE * (packed_s - taught_s))

    def _pace(self, taught: int, teaching_s: float, packing_s: float) -> None:
        """Take as many outcomes at once as fill a lesson, or what packing takes, if that is longer."""
        if taught >= LEAST // 2 and teaching_s > 0:
            fitting = taught / teaching_s * max(LESSON_S, PACK_SHARE * packing_s)
            self._at_once = int(min(max(fitting, LEAST), MOST))


async def teaching(teacher: ModelTrainer) -> None:
    """Teach until this task is cancelled; then let somebody else go on at once."""
    try:
        await repeat(f"learner of {teacher.key}", teacher.round)
    finally:
        with contextlib.suppress(Unavailable):
            await teacher.close()


def first_part(batch: Batch, most: int) -> Batch:
    """About the first ``most`` outcomes of a batch, and how far each bucket has then been read.

    No entry is divided, and what is taken of a bucket is all of it up to its position.
    """
    if len(batch.outcomes) <= most:
        return batch
    ordered = sorted(batch.outcomes, key=lambda o: (o.position.parts, o.bucket))
    end = (ordered[most - 1].position.parts, ordered[most - 1].bucket)
    taken = [o for o in ordered if (o.position.parts, o.bucket) <= end]
    return Batch({o.bucket: o.position for o in taken}, [], taken)
