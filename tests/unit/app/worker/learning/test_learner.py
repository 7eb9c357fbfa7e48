"""A learner folds what teaches at once; where nothing does, positions move seldom, and are not forgotten."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from msgspec import structs

from app.worker.learning import learner as module
from app.worker.learning.learner import Learner
from bandits.policy import FloatArray
from bandits.state import ArmTable, decode_state
from decisioning.learning.store_arms import Arms
from decisioning.log.store_shares import BucketShares
from decisioning.log.store_stream import Batch
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from tests.support.logged import ACCEPTED

KEY = "thompson@1"
TEACHES = structs.replace(ACCEPTED, policy=KEY, bucket=0)
WIDTH = Roster()[KEY].width
SHARES = BucketShares(cast(Any, None), KEY, "only", 64, lambda: 0)
Moves = Sequence[tuple[int, StreamPosition, StreamPosition]]


def at(number: int) -> StreamPosition:
    return StreamPosition(f"{number}-0")


class Redis:
    """The log, one batch a read, and the arms that are folded into."""

    def __init__(self, *batches: tuple[int, list[Outcome]] | None) -> None:
        self.batches = list(batches)
        self.asked: list[Mapping[int, StreamPosition]] = []
        self.folds: list[tuple[Moves, bool]] = []
        self.positions: dict[int, StreamPosition] = {}
        self.epoch = 0
        self.fields: dict[str, bytes] = {}
        self.added_here = 0
        self.is_full = False

    async def load(self, key: str) -> Arms:
        return Arms(self.epoch, dict(self.positions), dict(self.fields))

    async def read(self, positions: Mapping[int, StreamPosition], **how: Any) -> Batch:
        self.asked.append(dict(positions))
        batch = self.batches.pop(0)
        return Batch() if batch is None else Batch({0: at(batch[0])}, [], batch[1], is_full=self.is_full)

    async def fold(self, key: str, generation: int, moves: Moves, deltas: Mapping[str, FloatArray]) -> bool:
        if any(self.positions.get(bucket, StreamPosition.START) != old for bucket, old, _ in moves):
            return False
        table = ArmTable(WIDTH, self.epoch)
        table.put_all(self.fields.items())
        for name, delta in deltas.items():
            table.add(name, delta)
        self.added_here += 1
        return self._store(moves, {name: table.encode(name) for name in deltas})

    async def put(self, key: str, epoch: int, moves: Moves, states: Mapping[str, bytes]) -> bool:
        return epoch == self.epoch and self._store(moves, states)

    def _store(self, moves: Moves, states: Mapping[str, bytes]) -> bool:
        self.positions.update({bucket: new for bucket, _, new in moves})
        self.fields.update(states)
        self.epoch += 1
        self.folds.append((moves, bool(states)))
        return True

    def count(self) -> float:
        """The outcomes that all offers have learned together."""
        table = ArmTable(WIDTH)
        table.put_all(self.fields.items())
        return float(sum(decode_state(blob, WIDTH)[0] for blob in dict(table.fields()).values()))


async def learn(redis: Redis, shares: BucketShares = SHARES) -> Redis:
    arms = cast(Any, redis)
    learner = Learner(KEY, Roster(), arms, arms, cast(Any, None), cast(Any, None), shares)
    while redis.batches:
        await learner.round()
    return redis


async def test_entries_that_teach_nothing_make_no_fold_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOVE_INTERVAL_S", 3600.0)
    untaught: list[tuple[int, list[Outcome]]] = [(number, []) for number in (2, 3, 4)]
    redis = await learn(Redis((1, [TEACHES]), *untaught, (5, [TEACHES])))

    assert redis.folds == [
        ([(0, StreamPosition.START, at(1))], True),
        ([(0, at(1), at(5))], True),
    ]
    assert redis.asked[1:] == [{0: at(1)}, {0: at(2)}, {0: at(3)}, {0: at(4)}]


async def test_what_comes_fast_is_read_together_and_a_backlog_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_INTERVAL_S", 3600.0)
    redis = Redis((1, [TEACHES]), (2, [TEACHES]), None)
    arms = cast(Any, redis)
    learner = Learner(KEY, Roster(), arms, arms, cast(Any, None), cast(Any, None), SHARES)
    assert 3500.0 < await learner.round() <= 3600.0
    redis.is_full = True
    assert await learner.round() == 0.0
    assert await learner.round() == 0.0  # nothing came for as long as it waited


async def test_a_policy_that_decides_nothing_learns_what_others_decided_with_longer_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_INTERVAL_S", 1000.0)
    monkeypatch.setattr(module, "IDLE_READ_INTERVAL_S", 9000.0)
    of_others = structs.replace(TEACHES, policy="calibrated@1")
    redis = Redis((1, [of_others]), (2, [of_others, TEACHES]), (3, [of_others]), (4, [of_others]))
    arms = cast(Any, redis)
    learner = Learner(KEY, Roster(), arms, arms, cast(Any, None), cast(Any, None), SHARES)
    assert await learner.round() == pytest.approx(9000.0, abs=100.0)
    assert await learner.round() == pytest.approx(1000.0, abs=100.0)
    assert await learner.round() == pytest.approx(1000.0, abs=100.0)  # not long ago
    monkeypatch.setattr(module, "IDLE_AFTER_S", 0.0)
    assert await learner.round() == pytest.approx(9000.0, abs=100.0)
    assert [learned for _, learned in redis.folds] == [True] * 4


async def test_positions_move_when_nothing_more_comes_and_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOVE_INTERVAL_S", 3600.0)
    redis = await learn(Redis((1, [TEACHES]), (2, []), None, None))
    assert redis.folds[1:] == [([(0, at(1), at(2))], False)]

    monkeypatch.setattr(module, "MOVE_INTERVAL_S", 0.0)
    redis = await learn(Redis((1, [TEACHES]), (2, [])))
    assert redis.folds[1:] == [([(0, at(1), at(2))], False)]


async def test_where_another_learner_was_faster_it_goes_on_from_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOVE_INTERVAL_S", 3600.0)
    redis = Redis((1, [TEACHES]), (2, []), (3, [TEACHES]), (9, [TEACHES]))
    arms = cast(Any, redis)
    learner = Learner(KEY, Roster(), arms, arms, cast(Any, None), cast(Any, None), SHARES)
    await learner.round()
    await learner.round()
    redis.positions[0], redis.epoch = at(7), redis.epoch + 1  # the other one's
    await learner.round()
    await learner.round()
    assert redis.asked[-1] == {0: at(7)}
    assert redis.folds[1:] == [([(0, at(7), at(9))], True)]


async def test_a_worker_that_learns_alone_adds_up_by_itself_and_among_others_redis_does() -> None:
    alone = await learn(Redis(*[(number, [TEACHES]) for number in (1, 2, 3)]))
    shares = BucketShares(cast(Any, None), KEY, "one of two", 64, lambda: 0)
    shares.alone = False
    among = await learn(Redis(*[(number, [TEACHES]) for number in (1, 2, 3)]), shares)

    assert (alone.added_here, among.added_here) == (0, 3)
    assert alone.fields == among.fields
    assert alone.count() == among.count() > 0.0


async def test_sums_that_changed_meanwhile_are_read_again_before_anything_is_added() -> None:
    redis = Redis((1, [TEACHES]), (2, [TEACHES]), (2, [TEACHES]))
    arms = cast(Any, redis)
    learner = Learner(KEY, Roster(), arms, arms, cast(Any, None), cast(Any, None), SHARES)
    await learner.round()
    once = redis.count()
    redis.fields, redis.epoch = {}, 1_000  # begun anew
    await learner.round()
    assert redis.fields == {}
    await learner.round()
    assert redis.count() == once
