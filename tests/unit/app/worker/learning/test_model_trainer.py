"""Parts of a batch in which a model is taught, in the order of the log."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from app.worker.learning import model_trainer
from app.worker.learning.model_trainer import ModelTrainer, first_part
from decisioning.log.codec import outcome_fields
from decisioning.log.store_stream import Batch, LogReader, ParsedEntries
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition as At
from storage.keys import Keys
from storage.redis import make_redis
from tests.support.logged import ACCEPTED


def test_parts_of_a_batch_divide_no_entry() -> None:
    found = [
        structs.replace(ACCEPTED, bucket=bucket, position=At(position), offer=offer)
        for bucket, position, offer in [
            (0, "2-0", 1),
            (0, "2-0", 2),
            (1, "2-0", 1),
            (0, "10-0", 1),
            (1, "9-1", 1),
        ]
    ]
    batch = Batch({0: At("12-0"), 1: At("9-1"), 2: At("5-0")}, [], found)
    assert first_part(batch, 5) is batch
    part = first_part(batch, 1)
    assert (part.last, len(part.outcomes)) == ({0: "2-0"}, 2)
    part = first_part(batch, 4)
    assert (part.last, len(part.outcomes)) == ({0: "2-0", 1: "9-1"}, 4)


BUCKETS, AT_ONCE, IN_A_PART = 4, 10, 12
"""Of each bucket ten entries are read at once, and twelve of all are taught at once."""
LOGGED = [
    (number, bucket + 1) for number in range(1, 41) for bucket in range(BUCKETS) if number % (bucket + 1) == 0
]
"""Positions of entries: the first bucket has the most of them."""


async def fill_log(redis: Any, keys: Keys) -> None:
    """Log an outcome at each of the positions."""
    for number, bucket_after in LOGGED:
        told = structs.replace(ACCEPTED, at_ms=number, recorded_ms=number)
        key = keys.log(bucket_after - 1)
        await redis.xadd(key, _pairs(outcome_fields(told)), id=f"{number}-{bucket_after}")


def _pairs(parts: Sequence[str]) -> dict[str, str]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


class Stored:
    """A store of a model that is always this worker's, and whose positions are those of its arms."""

    epoch = 1

    async def own(self, *_: Any) -> str:
        """Grant the lease."""
        return "token"

    async def load(self, _key: str) -> Any:
        """Return arms without a model."""
        return SimpleNamespace(epoch=self.epoch, positions={}, fields={})

    async def replace(self, *_: Any) -> int:
        """Store, which moves the epoch."""
        self.epoch += 1
        return self.epoch


async def test_a_backlog_is_taught_in_order_also_beside_learners_that_share_what_they_read(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_trainer, "ENTRIES_BATCH_SIZE", AT_ONCE)
    taught: list[tuple[int, int]] = []

    def teach(outcomes: Sequence[Outcome], *_: Any) -> tuple[int, list[Exception]]:
        taught.extend(outcome.position.parts for outcome in outcomes)
        return 0, []

    monkeypatch.setattr(model_trainer, "teach_outcomes", teach)
    keys, redis, parsed = Keys(BUCKETS), make_redis(redis_url), ParsedEntries()
    stored: Any = Stored()
    others: Any = SimpleNamespace(spec=lambda _key: None, fresh=lambda: None, pack=lambda _model: b"")
    connection: Any = redis
    try:
        await connection.flushdb()
        await fill_log(connection, keys)
        trainer = ModelTrainer(
            "policy",
            others,
            others,
            LogReader(redis, keys, parsed),
            stored,
            stored,
            others,
        )
        learner = LogReader(redis, keys, parsed)
        for _ in LOGGED:
            if len(taught) == len(LOGGED):
                break
            behind = dict(trainer._loaded.positions) if trainer._loaded else {}
            await learner.read(behind, count=AT_ONCE, block_ms=None, decisions=False, kept_since_s=0.0)
            trainer._batch_size = IN_A_PART
            await trainer.round()
        assert taught == LOGGED
    finally:
        await connection.flushdb()
        await redis.aclose()
