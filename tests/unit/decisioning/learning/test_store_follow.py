"""The follower of arms: what it loads, applies and loads again, of arms that are told by hand."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import pairwise
from typing import cast

import numpy as np
import pytest

from app.processes.tasks import TaskSet
from bandits.policy import PolicySpec
from bandits.state import encode_state
from decisioning.learning import store_follow
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import ArmChange, Arms, ArmStore
from decisioning.learning.store_follow import ArmFollower, garbage_collection
from decisioning.policies.roster import Roster
from storage.errors import RedisUnavailable
from tests.support.waiting import DEADLINE_S

KEY = "spring@1"
ROSTER = Roster([PolicySpec("spring", 1, "thompson")])
STATE = encode_state(np.zeros(ROSTER[KEY].width))


class Store:
    """Arms at an epoch, and the changes behind it, one batch after the other; errors are raised in their turn."""

    def __init__(self, *steps: list[ArmChange] | Exception, epoch: int | None = 5) -> None:
        self.steps = list(steps)
        self.epoch = epoch
        self.loads = 0
        self.idle = asyncio.Event()

    async def load(self, policy: str) -> Arms | None:
        self.loads += 1
        return None if self.epoch is None else Arms(self.epoch, {}, {"1:2500": STATE})

    async def load_epoch(self, policy: str) -> int | None:
        return self.epoch

    async def changes(
        self, epochs: Mapping[str, int], *, count: int, block_ms: int | None
    ) -> dict[str, Iterator[ArmChange]]:
        if not self.steps:
            self.idle.set()
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        await asyncio.sleep(0)
        return {KEY: iter(step)} if step else {}


def change(epoch: int, *, reset: bool = False) -> ArmChange:
    """A fold."""
    return ArmChange(epoch, reset, {}, {"2:2500": STATE})


async def followed(
    store: Store, monkeypatch: pytest.MonkeyPatch, then: Callable[[ArmReplica], None]
) -> tuple[ArmReplica, int]:
    """Follow until nothing is left to apply, look, and end; returns the replica and how often arms were loaded."""
    monkeypatch.setattr(store_follow, "RETRY_S", 0.0)
    replica, loads = ArmReplica(ROSTER), list[int]()
    follower = ArmFollower(cast(ArmStore, store), replica, lambda: loads.append(1))
    task = asyncio.create_task(follower.follow(KEY))
    await asyncio.wait_for(store.idle.wait(), DEADLINE_S)
    then(replica)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return replica, len(loads)


@pytest.mark.parametrize(
    ("steps", "epoch", "loads"),
    [
        ([[change(6), change(7)], [change(8)]], 8, 1),
        ([[change(6), change(8)]], 5, 2),
        ([[change(6, reset=True)]], 5, 2),
        ([RedisUnavailable("gone"), [change(6)]], 6, 2),
        ([RuntimeError("a defect"), [change(6)]], 6, 2),
        ([[], [change(6)]], 6, 1),
    ],
    ids=["in order", "a gap", "a reset", "redis gone", "a defect", "silence"],
)
async def test_folds_are_applied_in_order_or_all_is_loaded_again(
    steps: list[list[ArmChange] | Exception], epoch: int, loads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(*steps)
    seen: list[int | None] = []
    replica, told = await followed(store, monkeypatch, lambda replica: seen.append(replica.epoch(KEY)))
    assert (seen, store.loads, told) == ([epoch], loads, loads)
    assert replica.epoch(KEY) is None  # nobody follows them any more


@pytest.mark.parametrize(("epoch", "loads"), [(4, 2), (None, 2), (5, 1)])
async def test_arms_that_were_emptied_in_silence_are_loaded_again(
    epoch: int | None, loads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Emptied(Store):
        async def load_epoch(self, policy: str) -> int | None:
            return epoch

    monkeypatch.setattr(store_follow, "CHECK_S", 0.0)
    store = Emptied([])
    await followed(store, monkeypatch, lambda replica: None)
    assert store.loads == loads


async def test_arms_that_are_not_there_yet_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Store):
        async def load(self, policy: str) -> Arms | None:
            self.epoch = 5 if self.loads == 2 else None
            return await super().load(policy)

    store = Late(epoch=None)
    _, told = await followed(store, monkeypatch, lambda replica: None)
    assert (store.loads, told) == (3, 1)


async def test_changes_that_come_fast_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each makes the next decision prepare offers anew, so under load they are not read one by one."""
    interval_s, asked = 0.03, list[float]()
    monkeypatch.setattr(store_follow, "CHANGES_INTERVAL_S", interval_s)

    class Watched(Store):
        async def changes(
            self, epochs: Mapping[str, int], *, count: int, block_ms: int | None
        ) -> dict[str, Iterator[ArmChange]]:
            asked.append(asyncio.get_running_loop().time())
            return await super().changes(epochs, count=count, block_ms=block_ms)

    store = Watched([change(6)], [change(7)], [])
    await followed(store, monkeypatch, lambda replica: None)
    # An empty reply was waited for long enough already.
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert len(gaps) == 3
    assert min(gaps[:2]) >= interval_s
    assert gaps[2] < interval_s


OTHER = "autumn@1"
BOTH = Roster([PolicySpec("spring", 1, "thompson"), PolicySpec("autumn", 1, "thompson")])


class Pushed:
    """Arms of several policies, to which a test pushes what the next look finds."""

    def __init__(self) -> None:
        self.found: asyncio.Queue[dict[str, list[ArmChange]]] = asyncio.Queue()
        self.looks: list[dict[str, int]] = []
        self.loads: list[str] = []
        self.reading = 0

    async def load(self, policy: str) -> Arms | None:
        self.loads.append(policy)
        return Arms(5, {}, {"1:2500": STATE})

    async def load_epoch(self, policy: str) -> int | None:
        return 5

    async def changes(
        self, epochs: Mapping[str, int], *, count: int, block_ms: int | None
    ) -> dict[str, Iterator[ArmChange]]:
        self.looks.append(dict(epochs))
        self.reading += 1
        try:
            return {key: iter(changes) for key, changes in (await self.found.get()).items() if key in epochs}
        finally:
            self.reading -= 1


async def settle() -> None:
    """Let tasks go on until they wait for something."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def pushed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Pushed, ArmReplica, TaskSet]]:
    """Both policies, followed."""
    monkeypatch.setattr(store_follow, "RETRY_S", 0.0)
    monkeypatch.setattr(store_follow, "CHANGES_INTERVAL_S", 0.0)
    store, replica = Pushed(), ArmReplica(BOTH)
    tasks = TaskSet(ArmFollower(cast(ArmStore, store), replica).follow)
    tasks.want([KEY, OTHER])
    await settle()
    yield store, replica, tasks
    await asyncio.wait_for(tasks.close(), DEADLINE_S)
    await settle()
    assert store.reading == 0, "nobody reads on when nobody follows"


async def test_one_look_reads_the_folds_of_all_policies(pushed: tuple[Pushed, ArmReplica, TaskSet]) -> None:
    store, replica, _ = pushed
    store.found.put_nowait({})  # the first look may have begun before both were loaded
    await settle()
    store.found.put_nowait({KEY: [change(6), change(7)], OTHER: [change(6)]})
    await settle()
    assert store.looks[-2:] == [{KEY: 5, OTHER: 5}, {KEY: 7, OTHER: 6}]
    assert (store.reading, replica.epoch(KEY), replica.epoch(OTHER)) == (1, 7, 6)


async def test_what_is_wrong_with_the_folds_of_one_policy_concerns_no_other(
    pushed: tuple[Pushed, ArmReplica, TaskSet],
) -> None:
    store, replica, _ = pushed
    damaged = ArmChange(6, False, {}, {"2:2500": b"no state"})
    store.found.put_nowait({KEY: [damaged], OTHER: [change(6)]})
    await settle()
    assert (replica.epoch(KEY), replica.epoch(OTHER)) == (5, 6)
    assert store.loads == [KEY, OTHER, KEY]
    store.found.put_nowait({})  # that look began while the arms were loaded again
    await settle()
    store.found.put_nowait({KEY: [change(6)], OTHER: [change(7)]})
    await settle()
    assert (replica.epoch(KEY), replica.epoch(OTHER)) == (6, 7)
    assert store.loads == [KEY, OTHER, KEY]


async def test_a_policy_that_is_not_wanted_any_more_leaves_the_others_followed(
    pushed: tuple[Pushed, ArmReplica, TaskSet],
) -> None:
    store, replica, tasks = pushed
    tasks.want([OTHER])
    await settle()
    store.found.put_nowait({KEY: [change(6)], OTHER: [change(6)]})
    await settle()
    assert (replica.epoch(KEY), replica.epoch(OTHER)) == (None, 6)
    assert store.looks[-1] == {OTHER: 6}


async def test_a_policy_that_is_wanted_again_at_once_is_followed(
    pushed: tuple[Pushed, ArmReplica, TaskSet],
) -> None:
    store, replica, tasks = pushed
    tasks.want([])
    tasks.want([KEY])  # while the tasks of before, and their reader, are still ending
    await settle()
    store.found.put_nowait({})
    await settle()
    store.found.put_nowait({KEY: [change(6)]})
    await settle()
    assert (store.reading, replica.epoch(KEY)) == (1, 6)


async def test_a_follower_ends_also_if_its_cancellation_gets_lost_while_arms_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Swallowing(Pushed):
        async def load(self, policy: str) -> Arms | None:
            with contextlib.suppress(
                asyncio.CancelledError
            ):  # as a driver whose reply comes at the same moment
                await asyncio.Event().wait()
            return await super().load(policy)

    store, replica = Swallowing(), ArmReplica(BOTH)
    tasks = TaskSet(ArmFollower(cast(ArmStore, store), replica).follow)
    tasks.want([KEY])
    await settle()
    await asyncio.wait_for(tasks.close(), 5.0)
    assert (store.loads, replica.epoch(KEY)) == ([KEY], None)


async def test_an_error_of_a_look_that_was_given_up_concerns_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Pushed):
        async def changes(
            self, epochs: Mapping[str, int], *, count: int, block_ms: int | None
        ) -> dict[str, Iterator[ArmChange]]:
            try:
                return await super().changes(epochs, count=count, block_ms=block_ms)
            except asyncio.CancelledError:
                raise RedisUnavailable("the connection was closed") from None

    monkeypatch.setattr(store_follow, "RETRY_S", 0.0)
    store, replica = Failing(), ArmReplica(BOTH)
    tasks = TaskSet(ArmFollower(cast(ArmStore, store), replica).follow)
    tasks.want([KEY])
    await settle()
    tasks.want([OTHER])  # the look of the one that leaves is given up while this one joins
    await settle()
    store.found.put_nowait({OTHER: [change(6)]})
    await settle()
    assert (replica.epoch(OTHER), store.loads) == (6, [KEY, OTHER])
    await asyncio.wait_for(tasks.close(), DEADLINE_S)


def test_garbage_is_collected_again_once_all_who_put_it_off_are_done() -> None:
    with garbage_collection.put_off():
        with pytest.raises(ValueError, match="inside"), garbage_collection.put_off():
            raise ValueError("inside")
        assert not gc.isenabled()
    assert gc.isenabled()
