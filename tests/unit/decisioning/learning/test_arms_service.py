"""The report on arms: where they are read, and what it says when something cannot be."""

from datetime import UTC, datetime
from typing import cast

import numpy as np
import pytest

from bandits.policy import PolicySpec
from bandits.state import ArmTable, encode_state
from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import Conflict, NotFound
from decisioning.learning.arms_service import LATELY_H, ArmsReport, ArmsService, SelectionCounts
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import Arms, ArmStore
from decisioning.model.deployment import Deployment
from decisioning.policies.roster import Roster
from storage.clock import HOUR_MS, to_ms
from storage.errors import PostgresUnavailable, RedisUnavailable
from tests.support.shop import NOW_MS, catalogue_with, offer

SPRING = PolicySpec("spring", 1, "thompson", {"half_life_days": 0.0})
NEWER = PolicySpec("spring", 2, "thompson", {"half_life_days": 0.0})
DICE = PolicySpec("dice", 1, "random")
BROKEN = PolicySpec("gone", 1, "no-such-algorithm")
SHOP = catalogue_with([offer(1), offer(2), offer(3, starts_ms=NOW_MS + 1), offer(4)])


class World:
    """Selections and stored arms, which may be missing or unreadable."""

    def __init__(self, arms: dict[str, bytes] | None = None, *, readable: bool = True) -> None:
        self.roster = Roster([SPRING, NEWER, DICE, BROKEN])
        self.replica = ArmReplica(self.roster)
        self.stored = arms
        self.readable = readable
        self.selected: dict[str, SelectionCounts] = {}
        self.asked: tuple[str, datetime, str | None] | None = None

    async def load(self, policy: str) -> Arms | None:
        return None if self.stored is None else Arms(9, {}, self.stored)

    async def selections(
        self, key: str, since: datetime, placement: str | None
    ) -> dict[str, SelectionCounts]:
        if not self.readable:
            raise PostgresUnavailable("gone")
        self.asked = key, since, placement
        return self.selected

    async def report(
        self, name: str, version: int | None = None, placement: str | None = None, shop: Catalogue = SHOP
    ) -> ArmsReport:
        service = ArmsService(
            self.roster, self.replica, cast(ArmStore, self), self.selections, lambda: NOW_MS
        )
        return await service.report(shop, name, version, placement)


def fields(**counts: tuple[float, float]) -> dict[str, bytes]:
    """Stored arms of ``spring``: observations and successes of offers ``o<number>``."""
    policy = Roster([SPRING])[SPRING.key]
    table = ArmTable(policy.width)
    at_s = NOW_MS / 1000
    for name, (n, s) in counts.items():
        table.add(
            f"{name[1:]}:{policy.decay.period(at_s)}", np.array([n, s, 0.0]) * policy.decay.weight(at_s)
        )
    return dict(table.fields())


async def test_arms_in_memory_are_reported_with_what_was_selected_lately() -> None:
    world = World()
    world.replica.load("spring@1", 3, fields(o1=(40, 10)).items())
    world.selected = {"o1": SelectionCounts(30, 20, 9), "o2": SelectionCounts(10, 0, 0)}
    found = await world.report("spring", 1)
    assert (found.epoch, found.learned, found.warning, found.algorithm) == (3, True, None, "thompson")
    assert [(arm.offer_id, arm.observations, arm.selected) for arm in found.arms] == [
        ("o1", pytest.approx(40), 30),
        ("o2", 0, 10),
    ]
    assert world.asked is not None
    key, since, placement = world.asked
    assert (key, placement, since.tzinfo) == ("spring@1", None, UTC)
    assert to_ms(since) == NOW_MS - LATELY_H * HOUR_MS


async def test_at_a_placement_all_its_offers_have_an_arm() -> None:
    world = World()
    world.replica.load("spring@1", 3, fields(o1=(40, 10)).items())
    found = await world.report("spring", 1, "home")
    assert {arm.offer_id for arm in found.arms} == {"o1", "o2", "o3", "o4"}
    assert world.asked is not None
    assert world.asked[2] == "home"
    with pytest.raises(NotFound, match="desk"):
        await world.report("spring", 1, "desk")


async def test_an_offer_that_is_not_live_is_not_called_neglected() -> None:
    world = World()
    world.replica.load("spring@1", 3, fields(o1=(500, 50), o2=(10, 1), o3=(10, 1)).items())
    world.selected = {"o1": SelectionCounts(999, 0, 0), "o2": SelectionCounts(1, 0, 0)}
    found = await world.report("spring", 1)
    assert found.mind.neglected == ("o2",)
    assert found.warning is not None
    assert found.warning.startswith("exploration has died too early: o2 may be")


async def test_without_postgres_what_was_learned_is_told_all_the_same() -> None:
    world = World(readable=False)
    world.replica.load("spring@1", 3, fields(o1=(40, 10)).items())
    found = await world.report("spring", 1)
    assert (len(found.arms), found.warning) == (1, "what was selected lately cannot be read now")


async def test_arms_that_have_not_come_yet_are_not_taken_for_none() -> None:
    with pytest.raises(RedisUnavailable, match="not been loaded yet"):
        await World(fields(o1=(40, 10))).report("spring", 1)


async def test_arms_of_a_retired_policy_are_read_as_they_were_left() -> None:
    world = World(fields(o1=(40, 10)))
    world.roster.retire(["spring@1"])
    assert ((await world.report("spring", 1)).epoch, len((await world.report("spring", 1)).arms)) == (9, 1)
    world.stored = None
    assert ((await world.report("spring", 1)).epoch, list((await world.report("spring", 1)).arms)) == (0, [])


async def test_a_policy_that_learns_nothing_has_no_arms_to_wait_for() -> None:
    world = World({"x": encode_state(np.zeros(3))})
    world.selected = {"o1": SelectionCounts(30, 20, 9)}
    found = await world.report("dice")
    assert (found.learned, found.epoch, found.arms[0].observations) == (False, 0, 20)


async def test_the_version_that_decides_is_the_one_that_is_meant() -> None:
    world = World()
    for key in ("spring@1", "spring@2"):
        world.replica.load(key, 3, ())
    await world.report("spring")
    assert world.asked is not None
    assert world.asked[0] == "spring@2"
    deployed = catalogue_with([], deployments={"home": Deployment("home", "spring@1")})
    await world.report("spring", shop=deployed)
    assert world.asked[0] == "spring@1"


async def test_policies_that_are_not_here_or_cannot_be() -> None:
    with pytest.raises(NotFound, match="nobody"):
        await World().report("nobody")
    with pytest.raises(NotFound, match="spring@7"):
        await World().report("spring", 7)
    for version in (1, None):
        with pytest.raises(Conflict, match=r"gone@1 cannot be used here: .*no-such-algorithm"):
            await World().report("gone", version)
