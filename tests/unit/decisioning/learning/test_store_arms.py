"""Arms in Redis: added to with the positions that were read, all or nothing, and pushed in order."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from bandits.state import decode_state, encode_state
from decisioning.learning.store_arms import GENERATION, ArmChange, Arms, ArmStore
from decisioning.model.position import StreamPosition as At
from storage.functions import load_functions
from storage.keys import Keys
from storage.redis import make_redis

P = "spring@1"
START = At.START


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[ArmStore]:
    """A store without arms."""
    redis = make_redis(redis_url)
    await redis.flushdb()
    await load_functions(redis)
    yield ArmStore(redis, Keys(2))
    await redis.aclose()


async def begin(store: ArmStore, generation: int = 1, expected: int | None = None) -> bool:
    """New arms of a generation: ``a`` is 1.0, both buckets are at their start."""
    fields = {"a": encode_state(np.array([1.0]))}
    return await store.reset(P, expected, Arms(generation * GENERATION, {0: START, 1: START}, fields))


async def fold(store: ArmStore, at: tuple[str, str], *, generation: int = 1, **deltas: float) -> bool:
    """Add to arms, and move bucket 0 from a position to another."""
    made = {name: np.array([delta]) for name, delta in deltas.items()}
    return await store.fold(P, generation, [(0, At(at[0]), At(at[1]))], made)


async def arms_of(store: ArmStore) -> dict[str, float]:
    """The arms as they are stored."""
    arms = await store.load(P)
    assert arms is not None
    return {name: float(decode_state(blob, 1)[0]) for name, blob in arms.fields.items()}


async def changes_behind(store: ArmStore, epoch: int, count: int = 9) -> list[ArmChange]:
    """The folds that were pushed since."""
    found = await store.changes({P: epoch}, count=count, block_ms=None)
    return list(found.get(P, ()))


async def test_before_there_are_arms_nothing_can_be_added(store: ArmStore) -> None:
    assert (await store.load(P), await store.load_epoch(P), await store.load_positions(P)) == (None, None, {})
    assert not await fold(store, ("0-0", "5-1"), a=1.0)
    assert await store.load(P) is None


async def test_a_fold_adds_moves_and_is_pushed(store: ArmStore) -> None:
    assert await begin(store)
    assert await fold(store, ("0-0", "5-1"), a=2.0, b=0.5)
    assert await arms_of(store) == {"a": 3.0, "b": 0.5}
    assert await store.load_positions(P) == {0: "5-1", 1: "0-0"}
    assert await store.load_epoch(P) == GENERATION + 1
    (change,) = await changes_behind(store, GENERATION)
    assert (change.epoch, change.reset, change.positions) == (GENERATION + 1, False, {0: "5-1"})
    assert {name: decode_state(blob, 1)[0] for name, blob in change.fields.items()} == {"a": 3.0, "b": 0.5}


@pytest.mark.parametrize(
    ("at", "generation"), [(("4-0", "5-1"), 1), (("0-0", "5-1"), 0), (("0-0", "5-1"), 2)]
)
async def test_a_fold_that_does_not_fit_changes_nothing(
    store: ArmStore, at: tuple[str, str], generation: int
) -> None:
    await begin(store)
    before = await store.load(P)
    assert not await fold(store, at, generation=generation, a=2.0)
    assert await store.load(P) == before
    assert before is not None
    assert before.generation == 1


async def test_the_same_part_of_the_log_is_not_folded_twice(store: ArmStore) -> None:
    await begin(store)
    assert [await fold(store, ("0-0", "5-1"), a=1.0) for _ in range(2)] == [True, False]
    assert await arms_of(store) == {"a": 2.0}


async def put(store: ArmStore, epoch: int, at: tuple[str, str], **states: float) -> bool:
    """Store sums that follow from those at an epoch, and move bucket 0 from a position to another."""
    made = {name: encode_state(np.array([state])) for name, state in states.items()}
    return await store.put(P, epoch, [(0, At(at[0]), At(at[1]))], made)


async def test_sums_that_were_added_up_elsewhere_are_stored_and_pushed_as_a_fold_is(store: ArmStore) -> None:
    assert await begin(store)
    assert await put(store, GENERATION, ("0-0", "5-1"), a=3.0, b=0.5)
    assert await put(store, GENERATION + 1, ("5-1", "6-0"))
    assert await arms_of(store) == {"a": 3.0, "b": 0.5}
    assert await store.load_positions(P) == {0: "6-0", 1: "0-0"}
    assert await store.load_epoch(P) == GENERATION + 2
    first, second = await changes_behind(store, GENERATION)
    assert (first.epoch, first.reset, first.positions) == (GENERATION + 1, False, {0: "5-1"})
    assert {name: decode_state(blob, 1)[0] for name, blob in first.fields.items()} == {"a": 3.0, "b": 0.5}
    assert (second.epoch, second.positions, second.fields) == (GENERATION + 2, {0: "6-0"}, {})


@pytest.mark.parametrize(
    ("epoch", "at"),
    [(GENERATION, ("4-0", "5-1")), (GENERATION + 1, ("0-0", "5-1")), (GENERATION - 1, ("0-0", "5-1"))],
)
async def test_sums_that_follow_from_other_arms_change_nothing(
    store: ArmStore, epoch: int, at: tuple[str, str]
) -> None:
    assert not await put(store, epoch, at, a=2.0)
    assert await store.load(P) is None
    await begin(store)
    before = await store.load(P)
    assert not await put(store, epoch, at, a=2.0)
    assert await store.load(P) == before
    assert await changes_behind(store, GENERATION) == []


async def test_arms_are_replaced_only_as_they_were_seen(store: ArmStore) -> None:
    assert not await begin(store, expected=GENERATION)
    assert await begin(store)
    assert not await begin(store, 2)
    await fold(store, ("0-0", "5-1"), a=1.0)
    assert not await begin(store, 2, expected=GENERATION)
    assert await begin(store, 2, expected=GENERATION + 1)
    assert await arms_of(store) == {"a": 1.0}
    assert await store.load_positions(P) == {0: "0-0", 1: "0-0"}
    changes = await changes_behind(store, GENERATION)
    assert [(change.epoch, change.reset) for change in changes] == [(2 * GENERATION, True)]


async def test_arms_are_forgotten_only_at_the_epoch_that_was_seen(store: ArmStore) -> None:
    assert not await store.forget(P, GENERATION)
    await begin(store)
    assert not await store.forget(P, GENERATION + 1)
    assert await store.forget(P, GENERATION)
    assert (await store.load(P), await changes_behind(store, 0)) == (None, [])


async def test_changes_of_several_policies_are_read_at_once_and_each_is_parsed_by_itself(
    store: ArmStore,
) -> None:
    other, damaged = "autumn@1", "winter@1"
    for policy in (P, other, damaged):
        fields = {"a": encode_state(np.array([1.0]))}
        assert await store.reset(policy, None, Arms(GENERATION, {0: START, 1: START}, fields))
    await fold(store, ("0-0", "5-1"), a=1.0)
    await store.fold(other, 1, [(1, START, At("7-1"))], {})
    await store._redis.xadd(Keys(2).changes(damaged), {"x": "y"}, id=f"{GENERATION + 1}-1")
    behind = {P: GENERATION, other: GENERATION, damaged: GENERATION, "none@1": 0}
    found = await store.changes(behind, count=9, block_ms=None)
    assert found.keys() == {P, other, damaged}
    assert [change.positions for change in found[P]] == [{0: "5-1"}]
    assert [change.positions for change in found[other]] == [{1: "7-1"}]
    with pytest.raises(KeyError):
        next(found[damaged])


async def test_changes_are_read_behind_an_epoch_and_no_more_than_wanted(store: ArmStore) -> None:
    await begin(store)
    for n in range(3):
        await fold(store, (f"{n}-0", f"{n + 1}-0"), a=1.0)
    found = [await changes_behind(store, GENERATION + n, count=2) for n in range(4)]
    assert [[change.epoch - GENERATION for change in changes] for changes in found] == [
        [1, 2],
        [2, 3],
        [3],
        [],
    ]
