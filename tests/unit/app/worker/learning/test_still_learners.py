"""Since when a learner stands still: in each bucket, since workers share them."""

from app.worker.learning.still_learners import StillLearners
from decisioning.model.position import StreamPosition


def at(number: int) -> StreamPosition:
    return StreamPosition(f"{number}-0")


def test_a_bucket_that_stands_still_is_noticed_while_others_move() -> None:
    now_s = 0.0
    still = StillLearners(lambda: now_s)
    for now_s in range(0, 2_000, 100):
        moved = {0: at(1), 1: at(now_s + 1)}
        archived = {0: at(now_s + 2), 1: at(now_s + 2)} if now_s % 200 else {1: at(now_s + 2)}
        assert still.still_s("p@1", moved, archived) == max(now_s - 100, 0)
    assert (
        still.still_s("p@1", {0: at(2), 1: at(9_999)}, {0: at(2_000)}) == 0.0
    )  # it moves, though it is behind
    still.forget("p@1")
    assert still.still_s("p@1", {0: at(2)}, {0: at(2_000)}) == 0.0


def test_what_is_not_behind_does_not_stand_still() -> None:
    times = iter((0.0, 1e6))
    still = StillLearners(lambda: next(times))
    assert still.still_s("p@1", {0: at(5)}, {0: at(5)}) == 0.0
    assert still.still_s("p@1", {0: at(5)}, {0: at(5)}) == 0.0
