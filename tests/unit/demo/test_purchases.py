"""Purchases as events: they are those of the data, and fit what is declared of them."""

import asyncio
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from demo.client import ApiClient, DemoError
from demo.journey import DATA_END, Journey
from demo.load import send_purchases
from demo.purchases import Purchases, Shoppers, before_offers, build_purchases
from demo.visitors import VisitTally
from profiles.events.event_type import EventType, PropertyCheck
from tests.support.demo_service import TODAY, FakeService
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def purchases(journey: Journey) -> Purchases:
    return build_purchases(journey, TODAY)


def test_they_are_what_was_bought_in_the_last_week(journey: Journey, purchases: Purchases) -> None:
    spent: dict[str, float] = defaultdict(float)
    events = [*purchases.before, *(event for basket in purchases.today for event in basket)]
    for event in events:
        spent[event["customer_id"]] += event["properties"]["amount"]
    lines = journey.transactions
    lines = lines.where(lines.day > DATA_END - np.timedelta64(7, "D"))
    totals = np.bincount(lines.household, weights=lines.sales_value, minlength=len(journey.households))
    for household in np.unique(lines.household).tolist():
        customer_id = f"household-{journey.households[household]}"
        assert spent[customer_id] == pytest.approx(totals[household], abs=0.01)
    assert len(spent) == len(np.unique(lines.household))
    assert len({event["event_id"] for event in events}) == len(events)
    last = lines.where(lines.day == DATA_END)
    assert len(purchases.today) == len(np.unique(last.basket))
    # Nobody buys at Christmas.
    days = {event["occurred_at"][:10] for event in purchases.before}
    assert days == {f"2031-03-0{day}" for day in range(4, 9)}


def test_they_fit_their_type(purchases: Purchases) -> None:
    (body,) = [body for path, body in before_offers() if "/event-types/" in path]
    check = PropertyCheck(EventType("purchase", body["name"], body["json_schema"]))
    assert {check.problem(event["properties"]) for event in purchases.before} == {None}
    assert check.problem({"department": "grocery"}) is not None


async def test_each_basket_is_one_call_and_a_second_round_counts_again() -> None:
    service, stop = FakeService([]), asyncio.Event()
    baskets = [[_event("a"), _event("b")], [_event("c")]]
    tally = VisitTally()
    async with service.client() as http:
        running = asyncio.create_task(Shoppers(ApiClient(http), baskets, tally, baskets_per_s=1e6).run(stop))

        async def sent() -> bool:
            return len(service.events) >= 3

        await eventually(sent, "three baskets")
        stop.set()
        await running
    assert [[one["event_id"] for one in call] for call in service.events[:3]] == [
        ["a-0", "b-0"],
        ["c-0"],
        ["a-1", "b-1"],
    ]
    assert {*tally.events} == {"recorded"}


async def test_what_cannot_be_told_is_counted_and_what_is_refused_ends_the_set_up() -> None:
    async with FakeService([]).client() as http:
        with pytest.raises(DemoError, match="refused"):
            await send_purchases(ApiClient(http), [_event("a", "unknown")], lambda *_: None)
    async with FakeService([], failures=100).client() as http:
        stop, tally = asyncio.Event(), VisitTally()
        stop.set()
        shoppers = Shoppers(ApiClient(http), [[_event("a")]], tally)
        await shoppers._send([_event("a")])
    assert sum(tally.errors.values()) == 1


def _event(event_id: str, type_: str = "purchase") -> dict[str, Any]:
    return {"event_id": event_id, "customer_id": "household-1", "type": type_, "properties": {}}
