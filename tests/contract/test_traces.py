"""A decision can be followed from the request to what was learned from it, and nothing personal is told on the way."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from app.publishable.gate import PublicGate
from storage.keys import ALL_PROFILES
from tests.support.api import JSON, Instance, Nextbest, Worker, decide, running, tell
from tests.support.spans import Memory
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMER, VALUE, OWN_ID = "canary-customer", 73_911.25, "canary-visit"
PARENT = "ab" * 16
ON_THE_WAY = {"GET", "ZRANGE", "FCALL nb_decide"}
"""What a decision asks Redis: the profile, the contacts, and at last the step that reserves and logs."""


@dataclass
class Traced:
    """An API process and a worker that are traced."""

    memory: Memory
    api: Instance
    worker: Worker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced(shop: Nextbest) -> AsyncIterator[Traced]:
    memory = Memory()
    worker = Worker(shop.settings, memory.tracing.folded)
    try:
        async with running(shop.settings, shop.api.keys, memory.tracing) as api:
            yield Traced(memory, api, worker)
    finally:
        await worker.close()


async def test_a_decision_can_be_followed_to_what_was_learned(traced: Traced) -> None:
    memory, api = traced.memory, traced.api
    memory.clear()
    profile = {"attributes": {"town": "canary-town", "income": VALUE}}
    await api.ok("PUT", f"/v1/customers/{CUSTOMER}", json=profile)
    body = {"customer_id": CUSTOMER, "placement": "home", "context": {"mood": "canary-mood", "n": VALUE}}
    asked = {"traceparent": f"00-{PARENT}-{'cd' * 8}-01", "X-Request-ID": "visit-7"}
    answer = await api.ok("POST", "/v1/decisions", json=body, role="frontend", headers=asked)
    decision_id, offer_id = answer["decision_id"], answer["offers"][0]["offer_id"]
    await tell(api, decision_id, offer_id, "clicked")
    assert await tell(api, decision_id, offer_id, "clicked") == "duplicate"
    item = {"decision_id": decision_id, "offer_id": offer_id, "outcome": "accepted", "value": VALUE}
    await api.ok("POST", "/v1/feedback/batch", json={"items": [item]}, role="frontend")
    await traced.worker.learn()

    decided, *rest = memory.of_trace(decision_id.partition("-")[2])
    assert (decided.name, decided.parent) == ("decided", None)
    assert [s.name for s in rest][:2] == ["feedback", "feedback"]
    learned = rest[2:]
    assert learned
    assert {s.name for s in learned} == {"learned"}
    assert answer["policy"]["name"] in {
        str((s.attributes or {})["nextbest.policy"]).split("@")[0] for s in learned
    }
    assert all(s.parent and decided.context and s.parent.span_id == decided.context.span_id for s in rest)

    put, ask, *told = memory.requests()
    assert [s.name for s in (put, ask, *told)] == [
        "PUT /v1/customers/{customer_id}",
        "POST /v1/decisions",
        *["POST /v1/feedback"] * 2,
        "POST /v1/feedback/batch",
    ]
    assert ask.context is not None
    assert ask.context.trace_id == int(PARENT, 16)
    assert (ask.attributes or {})["nextbest.request_id"] == "visit-7"
    assert (ask.attributes or {})["http.route"] == "/v1/decisions"
    linked = {link.context.span_id for s in (decided, *rest) for link in s.links}
    assert linked == {s.context.span_id for s in (ask, told[0], told[2]) if s.context}
    assert [link.context.trace_id for link in ask.links] == [
        decided.context.trace_id if decided.context else 0
    ]
    assert {s.name for s in memory.children(ask)} >= ON_THE_WAY
    assert "INSERT customers" in {s.name for s in memory.children(put)}, [
        s.name for s in memory.children(put)
    ]

    assert "visit-7" in memory.written()
    for canary in ("canary", str(VALUE)):
        assert canary not in memory.written()


async def test_a_customer_who_is_not_cached_is_seen_to_be_read_from_postgres(traced: Traced) -> None:
    memory, api = traced.memory, traced.api
    await api.ok("PUT", "/v1/customers/uncached", json={"attributes": {"town": "canary-town"}})
    await api.state.profiles.cache.bury_all(ALL_PROFILES)
    memory.clear()
    await decide(api, "uncached")
    (ask,) = memory.requests()
    names = [s.name for s in memory.children(ask)]
    assert {*ON_THE_WAY, "SELECT customers"} <= {*names}
    read = next(s for s in memory.children(ask) if s.name == "SELECT customers")
    assert read.kind.name == "CLIENT"
    assert (read.attributes or {})["db.system.name"] == "postgresql"
    assert "canary" not in memory.written()

    async def is_cached() -> bool:
        memory.clear()
        await decide(api, "uncached")
        (again,) = memory.requests()
        return "SELECT customers" not in {s.name for s in memory.children(again)}

    await eventually(is_cached, "the profile to be cached")


async def test_a_callers_own_id_is_found_by_its_digest_and_is_in_no_span(traced: Traced) -> None:
    memory = traced.memory
    memory.clear()
    first = await decide(traced.api, decision_id=OWN_ID)
    assert await decide(traced.api, decision_id=OWN_ID) == first
    assert await decide(traced.api, decision_id="another", dry_run=True)
    (decided,) = memory.of_trace(hashlib.sha256(OWN_ID.encode()).hexdigest()[:32])
    assert decided.name == "decided"
    links = [{link.context.span_id for link in s.links} for s in memory.requests()]
    assert decided.context is not None
    assert links == [{decided.context.span_id}, {decided.context.span_id}, set()]
    assert "canary" not in memory.written()
    assert [s.name for s in memory.spans()].count("decided") == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("decisions", {"customer_id": "ann", "placement": "home", "decision_id": "again", "dry_run": True}),
        ("decisions", {"customer_id": 7}),
        ("decisions", {"customer_id": "ann", "placement": "nowhere"}),
        ("feedback", {"decision_id": "nobody", "offer_id": "gold", "outcome": "clicked"}),
        ("feedback", None),
    ],
)
async def test_answers_are_byte_for_byte_the_same(
    shop: Nextbest, traced: Traced, path: str, body: object
) -> None:
    answers = []
    for api in (shop.api, traced.api):
        headers = {"X-API-Key": api.keys["frontend"], "X-Request-ID": "the-same"} | JSON
        found = await api.http.post(f"/v1/{path}", content=json.dumps(body), headers=headers)
        answers.append((found.status_code, sorted(found.headers.raw), found.content))
    assert answers[0] == answers[1]


async def test_nothing_stands_in_the_way_where_nothing_is_traced(shop: Nextbest) -> None:
    await shop.api.ok("GET", "/v1/placements")
    front: object = shop.api.app.middleware_stack
    assert isinstance(getattr(front, "_app", None), PublicGate)
    assert shop.api.state.pipe.begin_span is None
    assert shop.api.state.feedback.on_recorded is None
