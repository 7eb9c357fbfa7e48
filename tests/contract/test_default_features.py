"""The default policy learns from what it is given, without anybody specifying a policy."""

from functools import partial
from typing import Any

import pytest

from decisioning.evaluation.replay_service import replay
from decisioning.policies.store_facts import choose_features
from decisioning.rollout.default_service import AUTHOR, DefaultKeeper
from storage import clock
from tests.support.api import Nextbest, decide, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")


def keeper_of(shop: Nextbest, **fields: Any) -> DefaultKeeper:
    state = shop.api.state
    choose = partial(choose_features, state.engine)
    return DefaultKeeper(state.catalogues, state.policies, choose, clock.now_ms, **{"min_age_ms": 0} | fields)


async def paths_of(shop: Nextbest, version: int) -> set[str | None]:
    shown = await shop.api.ok("GET", f"/v1/policies/calibrated/{version}")
    assert shown["spec"]["auto"] is True
    return {feature.get("path") for feature in shown["spec"]["features"]}


async def versions(shop: Nextbest) -> list[str]:
    return [one["policy"] for one in await shop.api.ok("GET", "/v1/policies/calibrated")]


async def grow(shop: Nextbest, keeper: DefaultKeeper, path: str) -> None:
    """Declare an attribute, and let the default follow."""
    await shop.api.ok("PUT", f"/v1/attributes/{path}", json={"type": "number"})
    await keeper.look()
    await keeper.look()
    await shop.worker.warm()
    await keeper.look()
    await shop.api.state.refresh()


async def test_without_attributes_the_default_stays_as_it_was_built_in(shop: Nextbest) -> None:
    keeper = keeper_of(shop)
    for _ in range(3):
        await keeper.look()
    assert await versions(shop) == ["calibrated@1"]


async def test_the_default_learns_from_declared_attributes_in_a_new_version_that_starts_warm(
    shop: Nextbest,
) -> None:
    for number in range(10):
        decision = await decide(shop.api, f"early-{number}")
        assert decision["policy"] == {"name": "calibrated", "version": 1}
        await tell(shop.api, decision["decision_id"], decision["offers"][0]["offer_id"], "accepted")
    await shop.worker.archive()
    keeper = keeper_of(shop)
    await shop.api.ok("PUT", "/v1/attributes/customer.age", json={"type": "number"})
    await keeper.look()
    assert await versions(shop) == ["calibrated@1"], "once is not enough: somebody may be at it"
    await keeper.look()
    await keeper.look()
    assert await versions(shop) == ["calibrated@1", "calibrated@2"]
    assert (await decide(shop.api, "before"))["policy"]["version"] == 1, "nothing cold decides"
    await shop.worker.warm()
    await keeper.look()
    await shop.api.state.refresh()
    assert "customer.age" in await paths_of(shop, 2)
    assert (await shop.api.ok("GET", "/v1/policies/calibrated/2"))["folded"] >= 10
    decision = await decide(shop.api, "after")
    assert decision["policy"] == {"name": "calibrated", "version": 2}
    await shop.worker.drain()
    state = shop.api.state
    assert (await replay(decision["decision_id"], state.archive, state.catalogues, state.roster)).identical
    trail = await shop.api.ok("GET", "/v1/catalog?kind=deployment&id=home")
    assert trail[0]["author"] == AUTHOR
    assert "customer.age" in trail[0]["reason"]


async def test_the_vocabulary_grows_and_the_default_with_it(shop: Nextbest) -> None:
    keeper = keeper_of(shop)
    await grow(shop, keeper, "customer.income")
    assert await paths_of(shop, 3) >= {"customer.age", "customer.income"}
    assert (await decide(shop.api, "grown"))["policy"]["version"] == 3
    for _ in range(3):
        await keeper.look()
    assert (await versions(shop))[-1] == "calibrated@3", "nothing new, no new version"
    await grow(shop, keeper_of(shop, min_age_ms=3_600_000), "customer.too_soon")
    assert (await versions(shop))[-1] == "calibrated@3"


async def test_versions_that_nobody_goes_back_to_are_retired(shop: Nextbest) -> None:
    keeper = keeper_of(shop)
    await grow(shop, keeper, "customer.rooms")
    await keeper.look()
    states = {one["policy"]: one["state"] for one in await shop.api.ok("GET", "/v1/policies/calibrated")}
    assert states["calibrated@2"] == "retired"
    assert states["calibrated@3"] == states["calibrated@4"] == "live"


async def test_who_goes_back_or_chooses_another_champion_is_left_alone(shop: Nextbest) -> None:
    stage = "/v1/placements/desk/policies"
    body = {"policy": "thompson@1", "stage": "champion", "force": True}
    await shop.api.ok("POST", stage, json=body, role="scientist")
    await shop.api.ok("POST", "/v1/placements/home/policies/rollback", json={}, role="scientist")
    await grow(shop, keeper_of(shop), "customer.cars")
    assert (await decide(shop.api, "left-alone"))["policy"] == {"name": "calibrated", "version": 3}
    assert (await decide(shop.api, "left-alone", "desk"))["policy"]["name"] == "thompson"
