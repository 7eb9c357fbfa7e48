"""The trainer of sequential policies' models, which have one owner at a time; it works in a thread."""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from app.metrics import FOLDED
from app.tracing.opening import OnFolded
from app.worker.jobs import repeat
from bandits.sequential_policy import MODEL_FIELD, SequentialPolicy
from decisioning.learning.fold import in_order, teach_outcomes, teaches
from decisioning.learning.store_arms import ArmStore, ModelStore
from decisioning.log.store_stream import Batch, LogReader
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.recovery.store_rebuild import Rebuilder
from storage.errors import Unavailable
from storage.failures import FailureLog
from storage.redaction import describe_error

log = logging.getLogger(__name__)

ENTRIES_BATCH_SIZE = 500
BLOCK_MS = 500
LEASE_MS = 5_000
OWNERSHIP_POLL_S = 1.0
"""The time between two attempts of a trainer without the lease to get it."""
PAUSE_S = 0.05
REST_PER_PACKING = 2.0
"""Between two folds it rests for so many times as long as packing took, so that most time goes into training."""
TRAINING_SLICE_S = 0.25
"""About the time of training in one round: between two the lease is renewed, and the model stored."""
MIN_BATCH_SIZE, MAX_BATCH_SIZE = 50, 20_000
"""Outcomes in one round."""


@dataclass(slots=True)
class _LoadedModel:
    """The model in memory, as it is stored at ``epoch``."""

    model: Any
    epoch: int
    positions: dict[int, StreamPosition]


@dataclass
class ModelTrainer:
    """Train one policy's model. Any number of them may run: the one that holds the lease does the work.

    Whatever is not known to be stored is forgotten, and read from the store again. ``on_folded`` is told of
    the outcomes that were taught.
    """

    key: str
    roster: Roster
    policy: SequentialPolicy
    reader: LogReader
    arms: ArmStore
    models: ModelStore
    rebuilder: Rebuilder
    lease_ms: int = LEASE_MS
    on_folded: OnFolded | None = None
    name: str = field(default_factory=lambda: uuid4().hex, init=False)
    _loaded: _LoadedModel | None = field(default=None, init=False)
    _batch_size: int = field(default=MIN_BATCH_SIZE, init=False)

    def __post_init__(self) -> None:
        self._spec = self.roster.spec(self.key)
        self._failures = FailureLog(log)

    async def round(self) -> float:
        """Own the model, read what came, train on it, store; return how long to sleep.

        Raises ``Unavailable``, and ``StateCodecError`` if the model cannot be stored or read.
        """
        token = await self.models.own(self.key, self.name, self.lease_ms)
        if token is None:
            self._loaded = None
            return OWNERSHIP_POLL_S
        if self._loaded is None and not await self._load():
            await self.rebuilder.restore_if_lost()
            return PAUSE_S
        assert self._loaded is not None
        try:
            batch = await self.reader.read(
                self._loaded.positions, count=ENTRIES_BATCH_SIZE, block_ms=BLOCK_MS, decisions=False
            )
            if not batch.last:
                return PAUSE_S
            part = first_part(batch, self._batch_size)
            rest_s = await self._train(token, self._loaded, part)
        except BaseException:
            self._loaded = None  # what is stored is not known any more
            raise
        return 0.0 if len(part) < len(batch) else rest_s

    async def close(self) -> None:
        """Let another become the owner at once. Raises ``RedisUnavailable``."""
        await self.models.disown(self.key, self.name)

    async def _load(self) -> bool:
        arms = await self.arms.load(self.key)
        if arms is None:
            return False
        blob = arms.fields.get(MODEL_FIELD)
        model = self.policy.fresh() if blob is None else await asyncio.to_thread(self.policy.unpack, blob)
        self._loaded = _LoadedModel(model, arms.epoch, arms.positions)
        return True

    async def _train(self, token: str, loaded: _LoadedModel, batch: Batch) -> float:
        started_s = time.monotonic()
        learned, failures = await asyncio.to_thread(
            teach_outcomes, in_order(batch.outcomes), self._spec, self.policy, loaded.model
        )
        trained_s = time.monotonic()
        blob = await asyncio.to_thread(self.policy.pack, loaded.model) if learned else None
        packed_s = time.monotonic()
        if failures:
            self._failures.note(
                self.key, "%s failed on %d outcomes: %s", self.key, len(failures), describe_error(failures[0])
            )
        moves = [(b, loaded.positions.get(b, StreamPosition.START), last) for b, last in batch.last.items()]
        epoch = await self.models.replace(self.key, token, loaded.epoch, moves, blob)
        if epoch is None:
            self._loaded = None
            return 0.0
        loaded.epoch = epoch
        loaded.positions.update(batch.last)
        FOLDED.labels(self.key).inc(learned)
        if self.on_folded is not None and learned:
            self.on_folded(self.key, batch.outcomes, partial(teaches, spec=self._spec, policy=self.policy))
        self._adjust_batch_size(learned, trained_s - started_s, packed_s - trained_s)
        return max(PAUSE_S, REST_PER_PACKING * (packed_s - trained_s))

    def _adjust_batch_size(self, learned: int, training_s: float, packing_s: float) -> None:
        """Take as many outcomes in a round as fill a slice of training, or the rest after packing if it is longer."""
        if learned >= MIN_BATCH_SIZE // 2 and training_s > 0:
            fitting = learned / training_s * max(TRAINING_SLICE_S, REST_PER_PACKING * packing_s)
            self._batch_size = int(min(max(fitting, MIN_BATCH_SIZE), MAX_BATCH_SIZE))


async def train_until_cancelled(trainer: ModelTrainer) -> None:
    """Train until this task is cancelled; then let somebody else go on at once."""
    try:
        await repeat(f"learner of {trainer.key}", trainer.round)
    finally:
        with contextlib.suppress(Unavailable):
            await trainer.close()


def first_part(batch: Batch, max_outcomes: int) -> Batch:
    """Take about the first ``max_outcomes`` of a batch, and say how far each bucket has then been read.

    No entry is divided, and what is taken of a bucket is all of it up to its position.
    """
    if len(batch.outcomes) <= max_outcomes:
        return batch
    ordered = sorted(batch.outcomes, key=_log_order)
    end = _log_order(ordered[max_outcomes - 1])
    taken = [o for o in ordered if _log_order(o) <= end]
    return Batch({o.bucket: o.position for o in taken}, [], taken)


def _log_order(outcome: Outcome) -> tuple[tuple[int, int], int]:
    return outcome.position.parts, outcome.bucket
