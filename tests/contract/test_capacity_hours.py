"""The units of a capacity by hour: of those that count decisions, presentations and acceptances."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from decisioning.capacity.leasing import period_at
from decisioning.capacity.store_hours import first_hour, used_by_hour
from decisioning.model.entities import Counts
from storage import clock
from storage.clock import DAY_MS, HOUR_MS, to_datetime
from tests.support.api import Nextbest, decide, problem_of, tell
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Of all time, so that midnight changes nothing.
BODY = {"name": "Gold", "max": 50, "offer": "gold", "per": "total"}


async def with_gold(shop: Nextbest, customer_id: str, placement: str = "desk") -> Any:
    """A decision in which gold is offered: a unit of each of its capacities is taken."""

    async def answer() -> Any:
        made = await decide(shop.api, customer_id, placement)
        return made if any(offer["offer_id"] == "gold" for offer in made["offers"]) else None

    return await eventually(answer, f"gold to be offered to {customer_id}")


async def used(shop: Nextbest, counts: Counts) -> int:
    """The units by now, if the capacity counted this step."""
    await shop.worker.archive()
    capacity = replace(shop.api.state.current_catalogue().capacities["gold"], counts=counts)
    found = await used_by_hour(shop.api.state.engine, capacity, clock.now_ms())
    return sum(hour.used for hour in found)


async def test_units_are_counted_by_the_step_that_uses_them_up(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/capacities/gold", json=BODY)
    first, second, third = [await with_gold(shop, f"c{n}") for n in range(3)]
    total = await used(shop, "decided")
    assert total >= 3
    told = await shop.api.ok("GET", "/v1/reports/capacity/gold/hours", role="scientist")
    assert [told[name] for name in ("capacity_id", "per", "max", "counts")] == [
        "gold",
        "total",
        50,
        "decided",
    ]
    assert sum(hour["used"] for hour in told["hours"]) == total
    assert (await used(shop, "presented"), await used(shop, "accepted")) == (0, 0)
    await tell(shop.api, first["decision_id"], "gold", "presented")
    await tell(shop.api, second["decision_id"], "gold", "accepted")
    assert (await used(shop, "presented"), await used(shop, "accepted")) == (2, 1)
    record = await shop.api.ok("GET", f"/v1/decisions/{third['decision_id']}")
    at_ms = record["decided_at_ms"]
    await shop.api.state.decision_log.withdraw("c2", third["decision_id"], at_ms, clock.now_ms())
    assert await used(shop, "decided") == total - 1
    await with_gold(shop, "c4", "home")  # where nobody confirms it
    assert await used(shop, "presented") == 3


async def test_they_stand_in_the_hour_in_which_they_were_used(shop: Nextbest) -> None:
    now_ms = clock.now_ms()
    capacity = shop.api.state.current_catalogue().capacities["gold"]
    before = await used_by_hour(shop.api.state.engine, capacity, now_ms)
    assert [hour.at_ms for hour in before] == [before[0].at_ms + n * HOUR_MS for n in range(24)]
    assert before[-1].at_ms <= now_ms < before[-1].at_ms + HOUR_MS
    moved = to_datetime(before[5].at_ms + 1)
    async with shop.api.state.engine.begin() as connection:
        statement = "UPDATE decisions SET decided_at = :at WHERE header ? 'capacity'"
        await connection.execute(text(statement), {"at": moved})
    after = await used_by_hour(shop.api.state.engine, capacity, now_ms)
    assert after[5].used >= sum(hour.used for hour in before)
    assert [hour.used for n, hour in enumerate(after) if n != 5] == [0] * 23


async def test_a_capacity_by_day_begins_with_its_day(shop: Nextbest) -> None:
    capacity = shop.api.state.current_catalogue().capacities["gold"]
    by_day = replace(capacity, per="day", time_zone="Asia/Kolkata")
    now_ms = clock.now_ms()
    assert first_hour(by_day, now_ms) == period_at(by_day, now_ms).starts_ms
    by_hour = replace(by_day, per="hour")
    assert first_hour(by_hour, now_ms) == period_at(by_hour, now_ms).starts_ms - DAY_MS + HOUR_MS
    for one in (by_day, by_hour, replace(by_hour, counts="accepted")):
        hours = await used_by_hour(shop.api.state.engine, one, now_ms)
        assert hours[-1].at_ms <= now_ms < hours[-1].at_ms + HOUR_MS


async def test_there_must_be_such_a_capacity(shop: Nextbest) -> None:
    problem_of(await shop.api.call("GET", "/v1/reports/capacity/none/hours"), 404)
