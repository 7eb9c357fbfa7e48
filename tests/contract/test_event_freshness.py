"""An acknowledged event is known to the next decision, in any process; and the decision keeps what it knew."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio
from msgspec import msgpack
from sqlalchemy import text

from decisioning.evaluation.replay_service import explain_logged, replay
from decisioning.recovery.store_rebuild import Rebuilder
from profiles.events.reading import read_aggregates
from storage import clock
from tests.support.api import Instance, Nextbest, decide

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = {
    "name": "Call",
    "json_schema": {"properties": {"reason": {"type": "string"}, "minutes": {"type": "number"}}},
}
AGGREGATES: dict[str, dict[str, Any]] = {
    "bill_calls": {"event": "call", "function": "count", "where": "event.reason == 'bill'", "window": "7d"},
    "talked": {"event": "call", "function": "sum", "property": "minutes", "window": "7d"},
    "last_reason": {"event": "call", "function": "last", "property": "reason"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tells(shop: Nextbest) -> Nextbest:
    """The shop, with calls, what they tell, and an offer for those who call twice about a bill."""
    api = shop.api
    await api.ok("PUT", "/v1/event-types/call", json=CALL)
    for name, body in AGGREGATES.items():
        await api.ok("PUT", f"/v1/aggregates/{name}", json=body)
    concept = {"name": "Service", "half_life": "7d", "signals": [{"event": "call", "weight": 2}]}
    await api.ok("PUT", "/v1/concepts/service", json=concept)
    await api.ok("PUT", "/v1/groups/care", json={"name": "Care", "goal": "retain"})
    rule = "events.bill_calls >= 2 && events.talked > 4.0 && events.last_reason == 'bill' && interests.service > 1.0"
    offer = {
        "name": "We call you back",
        "group": "care",
        "rules": [{"name": "calls often", "tier": "eligibility", "when": rule}],
    }
    await api.ok("PUT", "/v1/offers/callback", json=offer)
    await api.ok(
        "PUT", "/v1/offers/callback/treatments/t", json={"channel": "care", "title": "Shall we call?"}
    )
    placement = {"channel": "care", "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/care", json=placement)
    return shop


async def call(api: Instance, customer_id: str, number: int, **properties: Any) -> None:
    """Tell a call of a customer."""
    event = {
        "event_id": f"call-{number}",
        "customer_id": customer_id,
        "type": "call",
        "properties": properties,
    }
    answer = await api.ok("POST", "/v1/events", json=event, role="frontend")
    assert answer["status"] == "recorded"


async def offers(api: Instance, customer_id: str, **fields: Any) -> list[str]:
    """What a customer is offered."""
    return [offer["offer_id"] for offer in (await decide(api, customer_id, "care", **fields))["offers"]]


async def test_the_next_decision_of_any_process_knows_an_acknowledged_event(tells: Nextbest) -> None:
    async with tells.another() as other:
        for one, another in ((tells.api, other), (other, tells.api)) * 5:
            customer = f"fresh-{id(one)}-{asyncio.get_running_loop().time()}"
            await call(one, customer, 1, reason="bill", minutes=2)
            assert await offers(another, customer) == []
            await call(one, customer, 2, reason="bill", minutes=2.5)
            assert await offers(another, customer) == ["callback"]
            await call(another, customer, 3, reason="other")
            assert await offers(one, customer) == []


async def test_the_record_keeps_what_events_told_so_it_is_explained_and_replayed_as_it_was(
    tells: Nextbest,
) -> None:
    api, state = tells.api, tells.api.state
    await call(api, "kept", 1, reason="bill", minutes=2)
    await call(api, "kept", 2, reason="bill", minutes=3)
    answer = await decide(api, "kept", "care", explain=True)
    await call(api, "kept", 3, reason="other", minutes=60)  # what is known later does not matter
    await tells.worker.drain()
    decision_id = answer["decision_id"]
    logged = await state.archive.decision(decision_id)
    assert logged is not None
    snapshot = logged.decision.customer_snapshot
    assert snapshot is not None
    assert snapshot.events == {"bill_calls": 2, "talked": 5.0, "last_reason": "bill"}
    assert 3.9 < snapshot.interests_told["service"] <= 4.0
    assert (await replay(decision_id, state.archive, state.catalogues, state.roster)).identical
    explained = await explain_logged(decision_id, state.archive, state.catalogues, state.roster)
    assert explained["candidates"] == answer["explanation"]


async def test_a_lost_state_is_folded_anew_from_the_archive_and_the_log(tells: Nextbest) -> None:
    api, state = tells.api, tells.api.state
    redis: Any = state.redis
    await call(api, "lost", 1, reason="bill", minutes=2)
    await tells.worker.archive()
    await call(api, "lost", 2, reason="bill", minutes=3)
    key = state.keys.events("lost")
    known = msgpack.decode(await redis.get(key))
    await redis.delete(key)
    assert await offers(api, "lost") == []
    rebuilder = Rebuilder(state.engine, redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    for _ in range(2):
        await rebuilder.rebuild()
        assert msgpack.decode(await redis.get(key)) == known
    assert await offers(api, "lost") == ["callback"]


async def test_events_that_come_while_redis_is_rebuilt_count_once(tells: Nextbest) -> None:
    api, state = tells.api, tells.api.state
    redis: Any = state.redis
    for number in range(5):
        await call(api, "busy", number, reason="bill", minutes=1)
    await tells.worker.archive()
    rebuilder = Rebuilder(state.engine, redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    await asyncio.gather(
        rebuilder.rebuild(), *(call(api, "busy", number, reason="bill", minutes=1) for number in range(5, 40))
    )
    snapshot = await decide(api, "busy", "care")
    waiting = await state.archive.decision(snapshot["decision_id"])
    assert waiting is None  # not archived yet
    await tells.worker.archive()
    logged = await state.archive.decision(snapshot["decision_id"])
    assert logged is not None
    assert logged.decision.customer_snapshot is not None
    assert logged.decision.customer_snapshot.events["bill_calls"] == 40


async def test_what_nobody_can_read_is_not_known(tells: Nextbest) -> None:
    await call(tells.api, "broken", 1, reason="bill", minutes=5)
    redis: Any = tells.api.state.redis
    await redis.set(tells.api.state.keys.events("broken"), b"\xc1 not MessagePack")
    assert await offers(tells.api, "broken") == []
    await call(tells.api, "broken", 2, reason="bill", minutes=5)
    await call(tells.api, "broken", 3, reason="bill", minutes=5)
    assert await offers(tells.api, "broken") == ["callback"]


async def test_a_stream_that_lost_its_end_goes_on_with_each_event_once(tells: Nextbest) -> None:
    api, state = tells.api, tells.api.state
    redis: Any = state.redis
    bucket = state.keys.bucket("stale")
    await call(api, "stale", 1, reason="bill", minutes=1)
    await tells.worker.archive()
    # Redis comes back as it was before: without the event that is archived, which is told again, and a new one.
    for key in (state.keys.log(bucket), state.keys.events("stale"), state.keys.event_ids("stale")):
        await redis.delete(key)
    await call(api, "stale", 1, reason="bill", minutes=1)
    await call(api, "stale", 2, reason="bill", minutes=2)
    rebuilder = Rebuilder(state.engine, redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    rebuilt = await rebuilder.restore_if_lost()
    assert rebuilt is not None
    assert rebuilt.streams >= 1
    await tells.worker.archive()
    query = "SELECT event_id FROM events WHERE customer_id = 'stale' ORDER BY 1"
    async with state.engine.connect() as connection:
        found = [row[0] for row in (await connection.execute(text(query))).all()]
    assert found == ["call-1", "call-2"]
    answer = await decide(api, "stale", "care")
    await tells.worker.archive()
    logged = await state.archive.decision(answer["decision_id"])
    assert logged is not None
    assert logged.decision.customer_snapshot is not None
    assert logged.decision.customer_snapshot.events["bill_calls"] == 2


async def test_a_rebuild_fills_a_new_aggregate_from_the_archive_and_drops_what_nobody_declares(
    tells: Nextbest,
) -> None:
    api, state = tells.api, tells.api.state
    redis: Any = state.redis
    later = {"event": "call", "function": "count", "window": "3d"}
    await api.ok("PUT", "/v1/aggregates/for_now", json=later)
    await call(api, "new", 1, reason="bill")
    await tells.worker.archive()
    await api.ok("PUT", "/v1/aggregates/calls_later", json=later)
    assert (await api.call("DELETE", "/v1/aggregates/for_now")).status_code == 200
    await call(api, "new", 2, reason="bill")
    definitions = state.current_catalogue().event_definitions

    async def count() -> Any:
        told = msgpack.decode(await redis.get(state.keys.events("new")))
        return read_aggregates(definitions, told, clock.now_ms())["calls_later"], len(told)

    before = await count()
    rebuilder = Rebuilder(state.engine, redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    await rebuilder.rebuild()
    assert (before, await count()) == ((1, before[1]), (2, before[1] - 1))
