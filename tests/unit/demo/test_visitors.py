"""Requests that visitors send, against a stand-in for the service."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import numpy as np
import pytest

from demo import visitors as visitors_module
from demo.client import ApiClient, DemoError
from demo.live import explain_decision
from demo.names import DESK, WEB
from demo.steering import REASONS
from demo.visitors import Crowd, Visitors, VisitTally
from tests.support.demo_service import FakeService

CROWD = Crowd(
    customers=["a", "b"],
    offers={"sure": 0, "never": 1},
    acceptance=np.array([[1.0, 0.0], [1.0, 0.0]]),
    values=[5.0, 7.0],
)


async def visit(service: FakeService, *, visits: int, rate_per_s: float = 2000) -> VisitTally:
    async with service.client() as http:
        visitors = Visitors(ApiClient(http), CROWD, seed=1, rate_per_s=rate_per_s, thinking_s=0.0)
        service.enough_after = visits
        await visitors.run(service.enough)
        return visitors.tally


async def test_an_offer_that_is_always_taken_is_accepted_with_its_value() -> None:
    service = FakeService(["sure"])
    tally = await visit(service, visits=300)
    assert tally.answers["accepted"] + tally.answers["not read out"] == tally.decisions
    accepted = [item for item in service.feedback if item["outcome"] == "accepted"]
    assert {item["value"] for item in accepted} == {5.0}
    assert tally.feedback["duplicate"] > 0
    assert tally.feedback["recorded"] == len(service.seen)
    assert sum(tally.feedback.values()) == len(service.feedback)
    assert service.batches > 0
    assert not tally.errors


async def test_an_offer_that_is_never_taken_is_rejected_or_passed_over() -> None:
    service = FakeService(["never"])
    tally = await visit(service, visits=300)
    assert tally.answers["accepted"] == 0
    assert tally.answers["rejected"] > 0
    assert tally.answers["silent"] > tally.answers["rejected"]


async def test_only_agents_confirm_that_an_offer_was_presented() -> None:
    service = FakeService(["sure"])
    tally = await visit(service, visits=300)
    placements = {f"d{number}": body["placement"] for number, body in enumerate(service.decisions, start=1)}
    presented = Counter(
        placements[item["decision_id"]] for item in service.feedback if item["outcome"] == "presented"
    )
    assert set(presented) == {DESK}
    assert set(placements.values()) == {DESK, WEB}
    assert tally.answers["not read out"] > 0
    assert {body["limit"] for body in service.decisions} == {1}


async def test_only_agents_say_why_it_was_a_no_and_not_always() -> None:
    service = FakeService(["never"])
    await visit(service, visits=300)
    placements = {f"d{number}": body["placement"] for number, body in enumerate(service.decisions, start=1)}
    said = {DESK: Counter[Any](), WEB: Counter[Any]()}
    for item in service.feedback:
        if item["outcome"] == "rejected":
            said[placements[item["decision_id"]]][item.get("reason")] += 1
        else:
            assert "reason" not in item
    assert {*said[WEB]} == {None}
    assert {*said[DESK]} == {None, *REASONS}


async def test_answers_without_offers_are_counted() -> None:
    tally = await visit(FakeService([]), visits=20)
    assert tally.empty == tally.decisions
    assert not tally.feedback


async def test_errors_are_counted_and_do_not_stop_the_visitors() -> None:
    tally = await visit(FakeService(["sure"], failures=5), visits=50)
    assert tally.errors == {"decisions 503": 5}
    assert tally.decisions >= 45


async def test_arrivals_are_spaced_by_their_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_to_wait: list[float] = []

    async def note(stop: asyncio.Event, seconds: float) -> None:
        asked_to_wait.append(seconds)
        if len(asked_to_wait) == 5:
            stop.set()

    monkeypatch.setattr(visitors_module, "wait_or_stop", note)
    # A thousand seconds apart: what the machine does meanwhile cannot matter.
    await visit(FakeService(["never"]), visits=1000, rate_per_s=0.001)
    assert [round(seconds / 1000) for seconds in asked_to_wait] == [1, 2, 3, 4, 5]


async def test_no_more_visitors_than_allowed_at_a_time() -> None:
    inside = most = asked = 0
    stop = asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        nonlocal inside, most, asked
        inside, asked = inside + 1, asked + 1
        most = max(most, inside)
        if asked == 40:
            stop.set()
        await asyncio.sleep(0.01)
        inside -= 1
        return httpx.Response(500)

    async with httpx.AsyncClient(transport=httpx.MockTransport(slow), base_url="http://demo.test") as http:
        await Visitors(ApiClient(http), CROWD, seed=1, rate_per_s=10_000, concurrency=4).run(stop)
    assert most == 4


async def test_feedback_is_sent_again_until_it_is_acknowledged() -> None:
    service = FakeService([], failures=2)
    async with service.client() as http:
        item = {"decision_id": "d", "offer_id": "o", "outcome": "accepted"}
        assert await ApiClient(http).feedback(item) == "recorded"
        service.failures = 1
        assert await ApiClient(http).feedback_batch([item, item | {"outcome": "clicked"}]) == [
            "duplicate",
            "recorded",
        ]


async def test_batch_items_that_could_not_be_stored_are_sent_again() -> None:
    calls: list[int] = []

    def handle(request: httpx.Request) -> httpx.Response:
        size = request.content.count(b"decision_id")
        calls.append(size)
        code = 503 if len(calls) == 1 else 200
        answers = [{"status": "recorded", "code": 200}] * (size - 1)
        return httpx.Response(200, json={"items": [*answers, {"status": "recorded", "code": code}]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle), base_url="http://demo.test") as http:
        statuses = await ApiClient(http).feedback_batch([{"decision_id": str(number)} for number in range(3)])
    assert calls == [3, 1]
    assert statuses == ["recorded"] * 3


async def test_a_refused_put_is_told_in_words() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(422, json={"detail": "value: must be positive"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://demo.test") as http:
        with pytest.raises(DemoError, match=r"PUT /v1/offers/x: 422 .*must be positive"):
            await ApiClient(http).put("/v1/offers/x", {})


async def test_the_explained_decision_is_not_one_of_the_control_group() -> None:
    service = FakeService(["sure", "never"])
    service.control = {"a"}
    async with service.client() as http:
        explained = await explain_decision(ApiClient(http), ["a", "b"])
    assert explained is not None
    assert explained["customer_id"] == "b"
    assert len(explained["offers"]) == 2
    assert [body["customer_id"] for body in service.decisions] == ["b"]


def test_latency_is_unknown_before_the_first_decision() -> None:
    tally = VisitTally()
    assert tally.latency_ms(0.5) is None
    tally.latencies_ms.extend([1.0, 3.0])
    assert tally.latency_ms(0.5) == 2.0
