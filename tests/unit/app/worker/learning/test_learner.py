"""A learner folds what teaches at once; where nothing does, positions move seldom, and are not forgotten."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from msgspec import structs

from app.worker.learning import learner as module
from app.worker.learning.learner import Learner
from bandits.policy import FloatArray
from decisioning.learning.store_arms import Arms
from decisioning.log.store_shares import BucketShares
from decisioning.log.store_stream import Batch
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from tests.support.logged import ACCEPTED

KEY = "thompson@1"
TEACHES = structs.replace(ACCEPTED, policy=KEY, bucket=0)
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

    async def load(self, key: str) -> Arms:
        return Arms(len(self.folds), dict(self.positions), {})

    async def read(self, positions: Mapping[int, StreamPosition], **how: Any) -> Batch:
        self.asked.append(dict(positions))
        batch = self.batches.pop(0)
        return Batch() if batch is None else Batch({0: at(batch[0])}, [], batch[1])

    async def fold(self, key: str, generation: int, moves: Moves, deltas: Mapping[str, FloatArray]) -> bool:
        if any(self.positions.get(bucket, StreamPosition.START) != old for bucket, old, _ in moves):
            return False
        self.positions.update({bucket: new for bucket, _, new in moves})
        self.folds.append((moves, bool(deltas)))
        return True


async def learn(redis: Redis) -> Redis:
    arms = cast(Any, redis)
    learner = Learner(KEY, Roster(), arms, arms, cast(Any, None), cast(Any, None), SHARES)
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
    redis.positions[0] = at(7)  # the other one's
    await learner.round()
    await learner.round()
    assert redis.asked[-1] == {0: at(7)}
    assert redis.folds[1:] == [([(0, at(7), at(9))], True)]
