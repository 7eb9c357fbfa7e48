"""Capacity over HTTP: it stops offers, says why, and says how much of it is used."""

import pytest

from tests.support.api import Nextbest, decide, problem_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCOPE = {"name": "Gold cards", "max": 3, "per": "total", "offer": "gold"}


async def test_a_capacity_is_shared_by_instances_and_its_use_is_told(shop: Nextbest) -> None:
    api = shop.api
    await api.ok("PUT", "/v1/capacities/gold-cards", json=SCOPE)
    async with shop.another() as other:
        given = 0
        for number in range(40):
            answer = await decide((api, other)[number % 2], f"customer {number}")
            given += any(offer["offer_id"] == "gold" for offer in answer["offers"])
        assert given <= 3

        async def all_given() -> bool:
            nonlocal given
            answer = await decide(api, "somebody else")
            given += any(offer["offer_id"] == "gold" for offer in answer["offers"])
            return given >= 3

        await eventually(all_given, "all three units to be given")

    async def told() -> bool:
        [usage] = (await api.ok("GET", "/v1/reports/capacity", role="scientist"))["capacities"]
        assert (usage["capacity_id"], usage["max"], usage["per"]) == ("gold-cards", 3, "total")
        assert usage["used"] + usage["leased"] + usage["remaining"] == 3
        return bool(usage["used"] == 3)

    await eventually(told, "the report to tell all three units as used")
    assert given == 3


async def test_an_explanation_names_the_capacity(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/capacities/gold-cards", json=SCOPE | {"max": 0, "per": "day"})

    async def stopped() -> list[dict[str, object]]:
        answer = await decide(shop.api, "eve", explain=True)
        [gold] = [each for each in answer["explanation"] if each["offer_id"] == "gold"]
        return [stop for stop in gold.get("stops", []) if stop["stage"] == "capacity"]

    [stop] = await eventually(stopped, "the capacity of 0 to stop the offer")
    assert stop["name"] == "gold-cards"
    assert stop["required"] == "at most 0 a day"


async def test_a_dry_run_takes_nothing(shop: Nextbest) -> None:
    await shop.api.ok("DELETE", "/v1/capacities/gold-cards")
    await shop.api.ok("PUT", "/v1/capacities/not-used", json=SCOPE)
    for number in range(8):
        await decide(shop.api, f"dry {number}", dry_run=True)
    [usage] = (await shop.api.ok("GET", "/v1/reports/capacity"))["capacities"]
    assert (usage["period"], usage["ends_at"], usage["used"]) == ("total", None, 0)


async def test_a_capacity_of_no_time_zone_is_refused(shop: Nextbest) -> None:
    refused = await shop.api.call("PUT", "/v1/capacities/bad", json=SCOPE | {"time_zone": "Mars/Olympus"})
    problem_of(refused, 422, "time_zone")


async def test_what_keeping_for_value_earned_is_told(shop: Nextbest) -> None:
    body = SCOPE | {"per": "day", "keep_for_value": True}
    await shop.api.ok("PUT", "/v1/capacities/kept", json=body)
    for number in range(3):
        await decide(shop.api, f"kept {number}")
    await shop.worker.archive()
    told = await shop.api.ok("GET", "/v1/reports/capacity/kept/value", role="scientist")
    assert (told["capacity_id"], told["keep_for_value"], told["price"], told["withheld"]) == (
        "kept",
        True,
        0.0,
        0,
    )
    assert told["value"] == told["first_come_value"] >= 0
    assert told["accepted_value"] == 0.0
    problem_of(await shop.api.call("GET", "/v1/reports/capacity/nothing/value"), 404)


async def test_for_all_time_nothing_can_be_kept_for_value(shop: Nextbest) -> None:
    refused = await shop.api.call("PUT", "/v1/capacities/bad", json=SCOPE | {"keep_for_value": True})
    problem_of(refused, 422, "keep_for_value")
