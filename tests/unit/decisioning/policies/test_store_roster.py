"""The roster's feed, when answers of the database overtake each other."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from bandits.policy import PolicySpec
from bandits.specification import spec_to_dict
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from decisioning.policies.store_rows import PolicyState
from storage.postgres import make_engine

SPEC = PolicySpec("spring", 1, "thompson")


class Slow(PolicyStore):
    """The state is read at once, as it is then; the first to ask gets its answer only after a while."""

    def __init__(self) -> None:
        super().__init__(make_engine("postgresql://nowhere/nothing"))
        self.state: PolicyState = "registered"
        self.answer_first = asyncio.Event()
        self.asked = 0

    async def states(self) -> dict[str, PolicyState]:
        self.asked += 1
        found: dict[str, PolicyState] = {SPEC.key: self.state}
        if self.asked == 1:
            await self.answer_first.wait()
        return found

    async def bodies(self, keys: Collection[str]) -> dict[str, Mapping[str, Any]]:
        return {key: spec_to_dict(SPEC) for key in keys}


async def test_an_old_answer_does_not_undo_a_newer_one() -> None:
    store = Slow()
    feed = RosterFeed(store, Roster())
    first = asyncio.create_task(feed.refresh())
    await asyncio.sleep(0)
    assert store.asked == 1
    store.state = "live"
    second = asyncio.create_task(feed.refresh())
    await asyncio.wait([second], timeout=0.1)  # it may have to wait for the first
    store.answer_first.set()
    await asyncio.gather(first, second)
    assert feed.states == {SPEC.key: "live"}
    assert SPEC.key in feed.live()
