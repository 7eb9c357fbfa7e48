"""A policy that learns by group is told the catalogue's groups: live, in reports, and where decisions are replayed."""

from typing import Any

import pytest

from decisioning.evaluation.replay_service import replay
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from tests.support.api import Nextbest, decide, put_offer, tell
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = "kin@1"
SPEC: dict[str, Any] = {
    "name": "kin",
    "algorithm": "calibrated",
    "parameters": {"group_shrinkage": 2.0, "half_life_days": 0},
}
made: list[str] = []
"""The decisions of this module, to be replayed."""


async def chances(shop: Nextbest, customer: str) -> dict[str, float]:
    """Decide at a placement that shows all offers; returns what the policy expects of each."""
    answer = await decide(shop.api, customer, "kin")
    assert answer["policy"] == {"name": "kin", "version": 1}
    made.append(answer["decision_id"])
    return {offer["offer_id"]: offer["factors"]["P"] for offer in answer["offers"]}


async def learn(shop: Nextbest) -> None:
    """Fold all that was told, and let the instance follow."""
    await shop.worker.drain()

    async def followed() -> bool:
        return shop.api.state.replica.epoch(KEY) == await shop.worker.epoch(KEY)

    await eventually(followed, "the instance to follow")


async def check_replays(shop: Nextbest) -> None:
    state = shop.api.state
    await shop.worker.drain()
    for decision_id in made:
        again = await replay(decision_id, state.archive, state.catalogues, state.roster)
        assert again.identical, decision_id


async def test_a_new_offer_starts_at_the_level_of_its_group(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/groups/loans", json={"name": "Loans", "goal": "grow"})
    for offer_id in ("car", "house"):
        await put_offer(shop.api, offer_id, value=10, group="loans")
    await shop.api.ok("POST", "/v1/policies", json=SPEC)
    await shop.worker.warm()
    place = {"channel": "web", "slots": 6, "control_share": 0, "deadline_ms": 5000}
    await shop.api.ok("PUT", "/v1/placements/kin", json=place)
    champion = {"policy": KEY, "stage": "champion", "force": True}
    await shop.api.ok("POST", "/v1/placements/kin/policies", json=champion, role="scientist")
    await shop.api.state.refresh()
    cold = await chances(shop, "nobody")
    assert len(set(cold.values())) == 1
    for number in range(8):
        await chances(shop, f"customer-{number}")
        for offer_id in ("gold", "car"):
            outcome = "accepted" if offer_id == "gold" else "rejected"
            await tell(shop.api, made[-1], offer_id, outcome)
    await learn(shop)
    await put_offer(shop.api, "novel", value=10)
    await shop.api.state.refresh()
    found = await chances(shop, "later")
    assert found["house"] < found["novel"] < found["gold"]
    assert found["novel"] > 1.2 * found["house"]


async def test_an_offer_that_changes_its_group_is_expected_to_be_like_the_others_there(
    shop: Nextbest,
) -> None:
    before = await chances(shop, "before")
    await put_offer(shop.api, "novel", value=10, group="loans")
    await shop.api.state.refresh()
    after = await chances(shop, "after")
    assert before.pop("novel") > 1.2 * after.pop("novel")
    assert after == before, "nothing was learned of it that others in its groups would lose or gain"


async def test_decisions_are_replayed_with_the_groups_of_their_time(shop: Nextbest) -> None:
    await check_replays(shop)
    state = shop.api.state
    await Rebuilder(
        state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
    ).rebuild()
    await check_replays(shop)


async def test_the_report_on_arms_knows_the_groups(shop: Nextbest) -> None:
    report = await shop.api.ok("GET", "/v1/policies/kin/arms?placement=kin")
    expected = {arm["offer_id"]: arm["posterior_mean"] for arm in report["arms"]}
    assert expected["gold"] > expected["silver"] > expected["house"]


async def test_a_version_that_is_made_later_starts_with_what_its_groups_learned(shop: Nextbest) -> None:
    parameters = {**SPEC["parameters"], "shrinkage": 0.5}
    await shop.api.ok("POST", "/v1/policies", json=SPEC | {"parameters": parameters})
    await shop.worker.warm()
    shown = await shop.api.ok("GET", "/v1/policies/kin/2")
    assert (shown["state"], shown["error"]) == ("live", None)
    assert shown["folded"] >= 16
