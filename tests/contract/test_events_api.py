"""Events over HTTP: each counts once, is archived once, and what cannot be recorded is refused with the way out."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import msgpack
from sqlalchemy import text

from decisioning.catalog.store import CatalogueStore
from decisioning.events.store_events import HORIZON_MS
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from storage.clock import now_ms, to_iso
from storage.errors import RedisUnavailable
from tests.support.api import Instance, Nextbest, decide, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = {
    "name": "Call",
    "json_schema": {
        "properties": {"reason": {"enum": ["bill", "cancel"]}, "minutes": {"type": "number"}},
        "required": ["reason"],
        "additionalProperties": False,
    },
}


def event(event_id: str, customer_id: str = "eva", **fields: Any) -> dict[str, Any]:
    """A call of a customer."""
    return {
        "event_id": event_id,
        "customer_id": customer_id,
        "type": "call",
        "properties": {"reason": "bill"},
    } | fields


async def declare(api: Instance, name: str = "call", **fields: Any) -> None:
    """Declare a type of events."""
    await api.ok("PUT", f"/v1/event-types/{name}", json=CALL | fields, role="ops")


async def tell_event(api: Instance, *arguments: Any, **fields: Any) -> str:
    """Tell an event; returns its status."""
    answer = await api.ok("POST", "/v1/events", json=event(*arguments, **fields), role="frontend")
    return str(answer["status"])


async def archived(nextbest: Nextbest, customer_id: str) -> list[Any]:
    """The archived events of a customer."""
    query = "SELECT * FROM events WHERE customer_id = :customer ORDER BY occurred_at, event_id"
    async with nextbest.api.state.engine.connect() as connection:
        return list((await connection.execute(text(query), {"customer": customer_id})).all())


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"type": "cal"}, "type", "did you mean 'call'?"),
        ({"type": "zebra"}, "type", "PUT /v1/event-types/"),
        ({"properties": {}}, "properties", "required"),
        ({"properties": {"reason": "weather"}}, "properties.reason", "not one of"),
        ({"properties": {"reason": "bill", "minuets": 1}}, "properties", "did you mean 'minutes'?"),
        ({"properties": {"reason": {"deep": 1}}}, "properties.reason", "nested"),
        ({"occurred_at": "2100-01-01T00:00:00Z"}, "occurred_at", "future"),
        ({"occurred_at": "2020-01-01T00:00:00Z"}, "occurred_at", "more than 7 days back"),
        ({"occurred_at": "2020-01-01"}, "occurred_at", "write 2020-01-01T00:00:00Z"),
        ({"event_id": ""}, "event_id", "at least 1"),
        ({"event_id": "a\nb"}, "event_id", "printable"),
        ({"event_id": "x" * 129}, "event_id", "at most 128"),
        ({"customer_id": ""}, "customer_id", ""),
        ({"colour": "red"}, "colour", ""),
    ],
)
async def test_what_cannot_be_recorded_is_refused_with_the_field_and_the_way_out(
    api: Instance, fields: dict[str, Any], field: str, said: str
) -> None:
    await declare(api)
    answer = await api.call("POST", "/v1/events", json=event("refused") | fields, role="frontend")
    problem = problem_of(answer, 422, field)
    assert said in problem["detail"]
    batch = {"items": [event("refused", "nobody") | fields, event("beside-it", "beside")]}
    told = await api.ok("POST", "/v1/events/batch", json=batch, role="frontend")
    assert [(item["status"] == "refused", item["field"]) for item in told["items"]] == [
        (True, field),
        (False, None),
    ]
    assert said in told["items"][0]["reason"]


async def test_an_event_counts_once_in_all_processes(shop: Nextbest) -> None:
    await declare(shop.api)
    at = to_iso(now_ms() - 60_000)
    async with shop.another() as other:
        statuses = await asyncio.gather(
            *(tell_event(api, "once", "onceler", occurred_at=at) for api in (shop.api, other) * 5)
        )
        assert sorted(statuses) == ["duplicate"] * 9 + ["recorded"]
        assert await tell_event(other, "once", "onceler", properties={"reason": "cancel"}) == "duplicate"
    batch = {
        "items": [
            event("once", "onceler"),
            event("twice", "onceler", properties={"reason": "bill", "minutes": None}),
        ]
    }
    answer = await shop.api.ok("POST", "/v1/events/batch", json=batch, role="frontend")
    assert answer["refused"] == 0
    assert [item["status"] for item in answer["items"]] == ["duplicate", "recorded"]
    await shop.worker.archive()
    rows = await archived(shop, "onceler")
    assert [(r.event_id, r.type, r.properties, list(r.contacts)) for r in rows] == [
        ("once", "call", {"reason": "bill"}, []),
        ("twice", "call", {"reason": "bill"}, []),
    ]


async def test_an_event_as_old_as_may_be_is_taken_and_known_again(shop: Nextbest) -> None:
    await declare(shop.api)
    oldest = to_iso(now_ms() - HORIZON_MS + 60_000)
    assert await tell_event(shop.api, "old", "oldie", occurred_at=oldest) == "recorded"
    assert await tell_event(shop.api, "new", "oldie") == "recorded"
    assert await tell_event(shop.api, "old", "oldie", occurred_at=oldest) == "duplicate"


async def test_the_same_id_of_another_customer_is_another_event(shop: Nextbest) -> None:
    await declare(shop.api)
    assert await tell_event(shop.api, "shared", "twin-a") == "recorded"
    assert await tell_event(shop.api, "shared", "twin-b") == "recorded"


async def test_contacts_of_other_systems_count_in_contact_limits(shop: Nextbest) -> None:
    api = shop.api
    await api.ok("PUT", "/v1/groups/mails", json={"name": "Mails", "goal": "grow"})
    await api.ok("PUT", "/v1/offers/news", json={"name": "News", "group": "mails"})
    await api.ok("PUT", "/v1/offers/news/treatments/t", json={"channel": "mail", "title": "News"})
    placement = {"channel": "mail", "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/mail", json=placement)
    limit = {"name": "one a day", "max": 1, "window_s": 86_400, "scope": "group", "applies_to": "mails"}
    await api.ok("PUT", "/v1/contact-policies/mails", json=limit)
    await declare(api, "newsletter", json_schema={}, contact={"channel": "mail", "group": "mails"})
    await declare(api, "letter", json_schema={}, contact={"channel": "mail", "offer": "news"})
    await declare(api, "visit", json_schema={}, contact={"channel": "branch"})
    assert (await decide(api, "visited", "mail", dry_run=True))["offers"]
    for kind, customer, offered in (("newsletter", "sub", 0), ("letter", "lena", 0), ("visit", "visited", 1)):
        assert await tell_event(api, "contact", customer, type=kind, properties={}) == "recorded"
        answer = await decide(api, customer, "mail", explain=True)
        assert len(answer["offers"]) == offered
        if not offered:
            assert "one a day" in str(answer["explanation"])
    everything = {"name": "nothing more", "max": 1, "window_s": 86_400, "scope": "all"}
    await api.ok("PUT", "/v1/contact-policies/everything", json=everything)
    await tell_event(api, "contact", "guest", type="visit", properties={})
    assert (await decide(api, "guest", "mail"))["offers"] == []
    assert (await api.call("DELETE", "/v1/contact-policies/everything")).status_code == 200
    yesterday = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    await tell_event(api, "contact", "past", type="newsletter", properties={}, occurred_at=yesterday)
    assert len((await decide(api, "past", "mail"))["offers"]) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"json_schema": {"properties": {"a": {"type": "text"}}}}, "json_schema.properties.a.type"),
        ({"json_schema": {"$ref": "https://example.com/a"}}, "json_schema"),
        ({"personal": ["minuts"]}, "personal.0"),
        ({"contact": {"channel": "mail", "group": "none"}}, "contact.group"),
        ({"contact": {"channel": "mail", "offer": "none"}}, "contact.offer"),
        ({"contact": {"channel": "mail", "offer": "gold", "group": "cards"}}, "contact.group"),
    ],
)
async def test_a_type_that_cannot_be_is_refused_with_the_field(
    api: Instance, fields: dict[str, Any], field: str
) -> None:
    problem_of(await api.call("PUT", "/v1/event-types/bad", json=CALL | fields, role="ops"), 422, field)


async def test_a_redis_that_lost_its_data_knows_events_and_contacts_again(nextbest: Nextbest) -> None:
    api = nextbest.api
    await declare(api)
    await declare(api, "walk-in", json_schema={}, contact={"channel": "branch"})
    at = to_iso(now_ms() - 3_600_000)
    for customer in ("lost-a", "lost-b"):
        await tell_event(api, "first", customer, occurred_at=at)
        await tell_event(api, "walk", customer, type="walk-in", properties={}, occurred_at=at)
    await nextbest.worker.archive()
    await tell_event(api, "behind", "lost-a", occurred_at=at)
    state, keys = api.state, api.state.keys
    before = await redis_of(api, "lost-a")
    for customer in ("lost-a", "lost-b"):
        for key in (keys.events(customer), keys.event_ids(customer), keys.contact(customer)):
            await state.redis.delete(key)
    rebuilder = Rebuilder(
        state.engine, state.redis, keys, state.roster, CatalogueStore(state.engine), clock.now_ms
    )
    for _ in range(2):
        rebuilt = await rebuilder.rebuild()
        assert rebuilt.customers >= 2
        assert await redis_of(api, "lost-a") == before
        for event_id, customer in (("first", "lost-a"), ("behind", "lost-a"), ("first", "lost-b")):
            assert await tell_event(api, event_id, customer, occurred_at=at) == "duplicate"


async def test_a_rebuild_that_leaves_customers_out_says_so_and_marks_nothing_as_whole(
    nextbest: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, keys = nextbest.api.state, nextbest.api.state.keys
    redis: Any = state.redis
    await declare(nextbest.api)
    await tell_event(nextbest.api, "busy", "busy")
    await nextbest.worker.archive()
    whole = [keys.whole(bucket) for bucket in range(keys.buckets)]
    marks = await redis.mget(whole)
    await redis.delete(*whole)
    rebuilder = Rebuilder(
        state.engine, state.redis, keys, state.roster, CatalogueStore(state.engine), clock.now_ms
    )
    with monkeypatch.context() as patch:
        patch.setattr("decisioning.recovery.store_events.MAX_TRIES", 0)
        with pytest.raises(RedisUnavailable, match=r"events of \d+ customers changed"):
            await rebuilder.rebuild()
    assert await redis.mget(whole) == [None] * len(whole)
    await rebuilder.rebuild()
    assert await redis.mget(whole) == marks


async def redis_of(api: Instance, customer_id: str) -> list[Any]:
    """What Redis knows of a customer's events and contacts."""
    redis: Any = api.state.redis
    keys = api.state.keys
    state = await redis.get(keys.events(customer_id))
    return [
        state and msgpack.decode(state),
        sorted(await redis.zrange(keys.event_ids(customer_id), 0, -1, withscores=True)),
        sorted(await redis.zrange(keys.contact(customer_id), 0, -1, withscores=True)),
    ]


TRACK = {"type": "track", "userId": "seg", "event": "Call", "properties": {"reason": "bill"}}
CLOUD = {"specversion": "1.0", "source": "/crm", "type": "call", "subject": "clo", "data": {"reason": "bill"}}
SNOW = {"user_id": "sno", "event_name": "call", "unstruct_event_com_example_call_1": {"reason": "bill"}}


@pytest.mark.parametrize(
    ("shape", "sent", "id_name", "bad", "field"),
    [
        ("segment", TRACK, "messageId", {"event": "Cal"}, "event"),
        ("segment", TRACK, "messageId", {"properties": {"reason": "x"}}, "properties.reason"),
        ("segment", TRACK, "messageId", {"timestamp": "yesterday"}, "timestamp"),
        ("segment", TRACK, "messageId", {"userId": None}, "userId"),
        ("snowplow", SNOW, "event_id", {"user_id": ""}, "user_id"),
        ("cloudevents", CLOUD, "id", {"data": "text"}, "data"),
        ("cloudevents", CLOUD, "id", {"data": {"reason": "x"}}, "data.reason"),
        ("cloudevents", CLOUD, "id", {"subject": None}, "subject"),
    ],
)
async def test_events_in_the_shapes_of_others_are_taken(
    shop: Nextbest, shape: str, sent: dict[str, Any], id_name: str, bad: dict[str, Any], field: str
) -> None:
    await declare(shop.api)
    path = f"/v1/events/{shape}"
    own = sent | {id_name: f"{shape}-{field}"}
    for status in ("recorded", "duplicate"):
        answer = await shop.api.ok("POST", path, json=own, role="frontend")
        assert [(item["status"], answer["refused"]) for item in answer["items"]] == [(status, 0)]
    problem_of(await shop.api.call("POST", path, json=own | bad, role="frontend"), 422, field)
    many = [own, own | {id_name: "another"} | bad, 7]
    for body in [many, {"batch": many}][: 2 if shape == "segment" else 1]:
        answer = await shop.api.ok("POST", path, json=body, role="frontend")
        found = [(item["status"], item["field"]) for item in answer["items"]]
        assert found == [("duplicate", None), ("refused", field), ("refused", "item")]
    problem_of(await shop.api.call("POST", path, json=[], role="frontend"), 422)
