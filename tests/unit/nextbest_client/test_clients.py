"""Both clients, the one with threads and the one with an event loop: the same promises."""

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx
import pytest

from nextbest_client import AsyncClient, Client, Decision, Offer, Refused, Retries, Unavailable
from nextbest_client.outbox import Outbox
from nextbest_client.retries import Breaker
from tests.support.waiting import eventually


class _Service(Protocol):
    saying: list[Any]
    always: Any
    asked: list[tuple[str, Any]]
    outcomes: dict[tuple[str, str, str], int]
    events: list[Any]

    def __call__(self, request: httpx.Request) -> httpx.Response: ...


FAST = Retries(attempts=3, first_s=0.001)
KINDS = ("threads", "loop")
GOLD = Offer("gold")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextbest_client.outbox.INTERVAL_S", 0.001)


class Either:
    """A client of either kind, awaited in both cases."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        async def call(*values: Any, **named: Any) -> Any:
            result = method(*values, **named)
            return await result if inspect.isawaitable(result) else result

        return call if callable(method) else method


@asynccontextmanager
async def client_of(kind: str, service: Any, **options: Any) -> AsyncIterator[Either]:
    """A client of a kind that talks to a service."""
    options = {"retries": FAST} | options
    transport = httpx.MockTransport(service)
    if kind == "threads":
        with httpx.Client(transport=transport, base_url="http://nextbest") as http:
            either = Either(Client(http=http, **options))
            yield either
            either.client.close(0.5)
        return
    async with httpx.AsyncClient(transport=transport, base_url="http://nextbest") as asynchronous:
        either = Either(AsyncClient(http=asynchronous, **options))
        yield either
        await either.close(0.5)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_decision_is_typed(kind: str, service: _Service) -> None:
    async with client_of(kind, service) as client:
        decision: Decision = await client.decide("ann", "home", {"page": "home"}, limit=2, fields=("score",))
    assert (decision.offers[0].offer_id, decision.offers[0].score, decision.local) == ("gold", 2.5, False)
    assert decision.offers[0].treatment is not None
    assert decision.offers[0].treatment.title == "Gold"
    assert decision.raw["offers"][0]["news"] == 1
    (_, body) = service.asked[0]
    assert body.pop("decision_id").startswith("py-")
    assert body == {
        "customer_id": "ann",
        "placement": "home",
        "context": {"page": "home"},
        "limit": 2,
        "fields": ["score"],
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_a_question_that_is_asked_again_is_the_same_decision(kind: str, service: _Service) -> None:
    service.saying[:] = [503, httpx.ReadTimeout]
    async with client_of(kind, service) as client:
        decision = await client.decide("ann", "home")
        mine = await client.decide("ann", "home", decision_id="visit-1")
    assert [body["decision_id"] for _, body in service.asked] == [decision.decision_id] * 3 + ["visit-1"]
    assert mine.decision_id == "visit-1"


@pytest.mark.parametrize("kind", KINDS)
async def test_while_the_service_is_away_defaults_are_answered_and_marked(
    kind: str, service: _Service
) -> None:
    service.always = httpx.ConnectError
    defaults = {"home": ["silver", {"offer_id": "gold", "treatment": {"title": "Ours"}}, Offer("phone", 3)]}
    breaker = Breaker(threshold=2, rest_s=60.0)
    async with client_of(kind, service, defaults=defaults, breaker=breaker) as client:
        decision = await client.decide("ann", "home", limit=2)
        assert [(offer.offer_id, offer.rank) for offer in decision.offers] == [("silver", 1), ("gold", 2)]
        assert decision.offers[1].treatment.title == "Ours"
        assert (decision.local, decision.degraded) == (True, ("service_unavailable",))
        assert decision.feedback_until is None
        with pytest.raises(Unavailable):
            await client.decide("ann", "desk")
        asked = len(service.asked)
        assert (await client.decide("bob", "home")).local
        assert len(service.asked) == asked, "it is known to be away: nobody waits for it"
        assert await client.tell(decision, "silver", "presented") is False
        assert client.outbox.dropped == {"local": 1}
        with pytest.raises(ValueError, match="made here"):
            await client.feedback(decision, "silver", "presented")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_service_refuses_is_raised_with_or_without_defaults(
    kind: str, service: _Service
) -> None:
    service.always = 403
    async with client_of(kind, service, defaults={"home": ["silver"]}) as client:
        with pytest.raises(Refused, match="told to"):
            await client.decide("ann", "home")
        assert len(service.asked) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_feedback_is_told_until_it_is_safe(kind: str, service: _Service) -> None:
    service.saying[:] = [503, httpx.ReadError]
    async with client_of(kind, service) as client:
        assert await client.feedback("d1", GOLD, "accepted", value=40.0) == "recorded"
        assert await client.feedback("d1", "gold", "accepted") == "duplicate"
        assert await client.request("GET", "/v1/reports") == {"path": "/v1/reports"}
    item = {"decision_id": "d1", "offer_id": "gold", "outcome": "accepted", "value": 40.0}
    assert service.asked[:3] == [("/v1/feedback", item)] * 3


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_told_in_the_background_is_sent_in_batches_when_the_service_is_back(
    kind: str, service: _Service
) -> None:
    service.saying[:] = [503] * 7
    async with client_of(kind, service) as client:
        for number in range(450):
            assert await client.tell(f"d{number}", "gold", "presented")
        assert await client.flush(20.0)
        assert client.outbox.sent == 450
    assert len(service.outcomes) == 450
    assert {path for path, _ in service.asked} == {"/v1/feedback/batch"}
    assert all(len(body["items"]) <= 200 and body["items"][0]["occurred_at"] for _, body in service.asked)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_service_that_is_away_is_asked_less_and_less_though_more_is_told(
    kind: str, service: _Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextbest_client.outbox.Outbox.pause_s", lambda self, draw: 60.0)
    service.always = httpx.ConnectError
    outbox = Outbox(batch_size=1)

    async def failed() -> bool:
        return bool(outbox._failures and client.event_outbox._failures)

    async with client_of(kind, service, outbox=outbox, retries=Retries(attempts=1)) as client:
        await client.tell("d1", "gold", "presented")
        for number in range(20):
            await client.tell(f"d{number}", "gold", "clicked")
            await client.track("ann", "visit")
            await eventually(failed, "both to be tried")
        assert sorted(path for path, _ in service.asked) == ["/v1/events/batch", "/v1/feedback/batch"]
        service.always = None
        assert await client.flush(5.0), "who flushes does not wait for that"


@pytest.mark.parametrize("kind", KINDS)
async def test_events_are_told_like_outcomes(kind: str, service: _Service) -> None:
    service.saying[:] = [503]
    async with client_of(kind, service) as client:
        assert await client.event("ann", "call", {"reason": "bill"}, event_id="call-1") == "recorded"
        assert await client.track("ann", "visit")
        assert await client.flush(5.0)
        assert (client.event_outbox.sent, client.outbox.sent) == (1, 0)
        await client.close()
        assert await client.track("ann", "visit") is False
        assert client.event_outbox.dropped == {"closed": 1}
    call = {"event_id": "call-1", "customer_id": "ann", "type": "call", "properties": {"reason": "bill"}}
    assert service.asked[:2] == [("/v1/events", call)] * 2
    (visit,) = service.events
    assert visit.pop("event_id").startswith("py-")
    assert visit.pop("occurred_at")
    assert visit == {"customer_id": "ann", "type": "visit", "properties": {}}


@pytest.mark.parametrize("kind", KINDS)
async def test_closing_sends_what_is_left_or_says_that_it_could_not(kind: str, service: _Service) -> None:
    async with client_of(kind, service) as client:
        await client.tell("d1", "gold", "presented")
        await client.close()
        assert (len(service.outcomes), client.outbox.dropped.total()) == (1, 0)
        assert await client.tell("d1", "gold", "accepted") is False
        assert client.outbox.dropped == {"closed": 1}
    service.always = httpx.ConnectError
    async with client_of(kind, service) as client:
        await client.tell("d2", "gold", "presented")
        assert await client.flush(0.1) is False
        await client.close(0.1)
        assert client.outbox.dropped == {"closed": 1}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_is_none_ends_no_sender(kind: str, service: _Service) -> None:
    """A proxy's page in place of an answer, once: the batch is sent again."""
    pages = [httpx.Response(200, text="<html>")]
    async with client_of(kind, lambda r: pages.pop() if pages else service(r)) as client:
        await client.tell("d1", "gold", "presented")
        assert await client.flush(5.0)
    assert len(service.outcomes) == 1
