"""A person with a trace of everything in an installation, who is to be erased, beside others."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import text

from decisioning.triggers.store_outbox import TriggerStreams
from tests.support.api import CSV, Nextbest, decide, put_offer, tell
from tests.support.triggers import Triggers
from tests.support.waiting import eventually

CANARY = "Zaphod-42-Zanzibar"
ME = f"{CANARY}@example.org"
VISITOR = f"visitor:{CANARY}-0123456789"
"""Who turned out to be the person."""
HOME = f"{CANARY}-home"
"""The household of which the person is the only member."""
KEY = "taught@1"
FEATURES = [
    {"name": "age", "kind": "numeric", "path": "customer.age", "low": 0, "high": 100},
    {"name": "plan", "kind": "category", "path": "customer.plan", "values": ["basic", "full"]},
    {"name": "city", "kind": "category", "path": "customer.city", "buckets": 4},
    {"name": "word", "kind": "category", "path": "context.word", "values": ["hello"]},
    {"name": "words", "kind": "cross", "of": ["city", "word"], "buckets": 5},
    {"name": "said", "kind": "category", "path": "events.last_said", "buckets": 4},
]
CALL = {"customer_id": ME, "type": "call", "properties": {"said": CANARY, "case_id": CANARY}}
EVENT_TYPES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "call": (("said", "case_id"), {"contact": {"channel": "phone"}}),
    "call-closed": (("case_id",), {}),
    "order": (("arrives_on", "order_id"), {}),
}
AGGREGATES: dict[str, dict[str, Any]] = {
    "last_said": {"event": "call", "function": "last", "property": "said"},
    "open_cases": {"event": "call", "function": "open", "key": "case_id", "closed_by": "call-closed"},
    "about_one": {
        "event": "call",
        "function": "count",
        "against": "self",
        "key": "case_id",
        "closed_by": "call-closed",
        "window": "90d",
    },
    "vs_cases": {
        "event": "call",
        "function": "deviation",
        "against": "all",
        "key": "case_id",
        "closed_by": "call-closed",
        "window": "90d",
    },
}
"""What events tell: the last text, and cases by a key that is one."""


async def set_up(shop: Nextbest) -> None:
    """Offers whose texts have attributes in them, and a policy that decides by what it has learned."""
    api, state = shop.api, shop.api.state
    for path, kind in (("age", "number"), ("plan", "string"), ("city", "string"), ("name", "string")):
        await api.ok("PUT", f"/v1/attributes/customer.{path}", json={"type": kind})
    for path in ("word", "mood", "free"):
        await api.ok("PUT", f"/v1/attributes/context.{path}", json={"type": "string"})
    for kind, (properties, fields) in EVENT_TYPES.items():
        schema = {"properties": {name: {"type": "string"} for name in properties}}
        await api.ok("PUT", f"/v1/event-types/{kind}", json={"name": kind, "json_schema": schema} | fields)
    for name, aggregate in AGGREGATES.items():
        await api.ok("PUT", f"/v1/aggregates/{name}", json=aggregate)
    await api.ok("PUT", "/v1/reasons/in-peace", json={"name": "Leave in peace"})
    signal = {"when": "context.mood == 'angry'", "reason": "in-peace", "lasts_s": 86_400}
    await api.ok("PUT", "/v1/signals/angry", json=signal | {"scope": {"offers": ["phone"]}})
    together = {"name": "together", "max": 500, "window_s": 86_400, "scope": "group", "applies_to": "cards"}
    await api.ok("PUT", "/v1/contact-policies/together", json=together | {"per": "household"})
    register = {"field": "ref", "form": "id", "salt": "grain", "reason": "told", "without_value": "pass"}
    await api.ok("PUT", "/v1/registers/known", json=register)
    treatment = {
        "channel": "web",
        "language": "en",
        "title": "For {customer.name}",
        "message": "{customer.city}",
    }
    await put_offer(api, "greeting", value=20)
    await api.ok("PUT", "/v1/offers/greeting/treatments/banner", json=treatment)
    limits = [{"max": 50, "window_s": 86_400}]
    await put_offer(api, "limited", value=30, contact_limits=limits)
    await api.ok(
        "POST", "/v1/policies", json={"name": "taught", "algorithm": "linear_thompson", "features": FEATURES}
    )
    await shop.worker.warm()
    place: dict[str, Any] = {"channel": "web", "control_share": 0, "deadline_ms": 5000, "slots": 2}
    place |= {"log_facts": ["customer.name", "context.free"]}  # which no policy reads
    await api.ok("PUT", "/v1/placements/taught", json=place)

    async def followed() -> bool:
        return state.replica.epoch(KEY) is not None

    await eventually(followed, "the instance to follow the policy")
    stage = {"policy": KEY, "stage": "champion", "force": True}
    await api.ok("POST", "/v1/placements/taught/policies", json=stage)


async def bring_in(shop: Nextbest) -> None:
    """The person's record, propensities, an event and triggers on it, and a decision of earlier years; others."""
    api, triggers = shop.api, Triggers(shop)
    record = {
        "attributes": {
            "age": 41.5,
            "plan": "full",
            "city": CANARY,
            "name": CANARY,
            "ref": CANARY,
            "time_zone": "Europe/Paris",
        },
        "holdings": [CANARY],
        "interests": {CANARY: 0.5},
        "consents": {CANARY: ["web"]},
        "household_id": HOME,
    }
    for customer_id in (ME, "other-1", "other-2"):
        await api.ok("PUT", f"/v1/customers/{customer_id}", json=record if customer_id == ME else {})
    stated = {"purpose": CANARY, "channel": "web", "given": True, "source": CANARY, "proof": CANARY}
    await api.ok("PATCH", f"/v1/customers/{ME}", json={"consent_records": [stated]})
    note = {"text": f"wants {CANARY}", "reason": CANARY, "decision_id": f"{CANARY}-desk"}
    await api.ok("POST", f"/v1/customers/{ME}/notes", json=note, role="agent")
    await api.ok(
        "POST",
        "/v1/imports/propensities",
        content=f"customer_id,offer_id,propensity\n{ME},gold,0.25\n".encode(),
        headers=CSV,
    )
    await triggers.declare("called", {"event": "call"}, when="customer.known")
    await triggers.declare("quiet", {"idle": ["call"], "after_s": 86_400})
    arrival = {"event": "order", "date": "event.arrives_on", "key": "order_id", "days": 1}
    await triggers.declare("arrives", arrival)
    await api.ok("POST", "/v1/events", json=CALL | {"event_id": f"{CANARY}-1"}, role="frontend")
    ordered = {"arrives_on": "2999-01-01", "order_id": CANARY}
    order = {"customer_id": ME, "type": "order", "properties": ordered}
    await api.ok("POST", "/v1/events", json=order | {"event_id": f"{CANARY}-order"}, role="frontend")
    # An entry that is in force, and leaves all offers that are made here.
    body = {"reason": CANARY, "scope": {"offers": ["phone"]}}
    await api.ok("PUT", f"/v1/suppressions/partial/{ME}", json=body)
    past = f"customer_id,offer_id,decided_at,outcome,value\n{ME},gold,2020-01-01T10:00:00Z,accepted,5\n"
    await api.ok("POST", "/v1/imports/history", content=past.encode(), headers=CSV)
    await be_a_visitor(shop)


async def be_a_visitor(shop: Nextbest) -> None:
    """Events and a decision of a visitor, who then turns out to be the person."""
    api = shop.api
    called = CALL | {"customer_id": VISITOR, "event_id": f"{CANARY}-visit"}
    await api.ok("POST", "/v1/events", json=called, role="frontend")
    made = await decide(api, VISITOR, "taught", context={"word": CANARY, "free": CANARY})
    await tell(api, made["decision_id"], made["offers"][0]["offer_id"], "clicked")
    body = {"reason": CANARY, "scope": {"offers": ["phone"]}}
    await api.ok("PUT", f"/v1/suppressions/as-a-visitor/{VISITOR}", json=body)
    await api.ok("POST", f"/v1/customers/{VISITOR}/notes", json={"text": CANARY}, role="agent")
    await api.ok("POST", f"/v1/customers/{ME}/merge", json={"visitor_id": VISITOR})


async def decide_for_all(shop: Nextbest) -> list[Any]:
    """Decisions and outcomes of the person and of others. Returns who was answered what."""
    api = shop.api
    made = []
    for number in range(6):
        for customer_id in (ME, "other-1", "other-2"):
            context = {"word": CANARY if customer_id == ME else "hello", "free": f"{CANARY} {number}"}
            own = {"decision_id": f"own-{number}"} if customer_id == ME and number % 2 else {}
            placement = "home" if number == 5 else "taught"
            context = context | {"mood": "angry"} if customer_id == ME else {"word": "hello"}
            answer = await decide(api, customer_id, placement, context=context, **own)
            outcome = "accepted" if number % 3 else "rejected"
            for offer in answer["offers"][:1]:
                await tell(
                    api, answer["decision_id"], offer["offer_id"], outcome, value=2.0 if number % 3 else None
                )
            made.append((customer_id, answer))
            await shop.worker.learn()
    return made


async def export_all(shop: Nextbest) -> None:
    """Exports of every kind, of an archive that has everything so far."""
    api = shop.api
    for kind in ("decisions", "outcomes", "features", "customers", "arms"):
        await api.ok("POST", "/v1/exports", json={"kind": kind}, role="scientist")
    await api.ok("POST", "/v1/exports", json={"kind": "decisions", "format": "dsjson"}, role="scientist")
    await shop.worker.expire(ahead_s=0)
    await shop.worker.archive()
    await shop.worker.export()


async def leave_open(shop: Nextbest) -> Any:
    """What has just come, and stands in no archive yet. Returns the decision that waits."""
    api, state = shop.api, shop.api.state
    response = await api.call("DELETE", f"/v1/customers/{ME}/signals/angry", role="ops")
    assert response.status_code == 204, response.text
    # What comes now is neither learned nor archived yet.
    waiting = await decide(api, ME, "taught", context={"word": CANARY}, decision_id="own-late")
    await state.decision_log.read(ME, False, "own-unlogged")  # as a decision does that is never written
    await tell(api, waiting["decision_id"], waiting["offers"][0]["offer_id"], "clicked")
    await api.ok(
        "PUT", f"/v1/suppressions/register/{ME}", json={"reason": CANARY, "until": "2021-01-01T00:00:00Z"}
    )
    await Triggers(shop).follow()
    streams = TriggerStreams(state.redis)
    await streams.put("nb:triggered", "f1", json.dumps({"data": {"customer_id": ME, "cause": CANARY}}))
    await streams.put("nb:triggered", "f2", json.dumps({"data": {"customer_id": "else"}}))
    await api.ok("POST", "/v1/events", json=CALL | {"event_id": f"{CANARY}-2"}, role="frontend")
    await be_registered(shop)
    return waiting


async def be_registered(shop: Nextbest) -> None:
    """A register in which the person is found, and a decision that looked at it."""
    digest = sha256(f"grain{CANARY}".encode()).hexdigest()
    rows = f"register_id,digest\nknown,{digest}\n"
    await shop.api.ok("POST", "/v1/imports/registers", content=rows.encode(), headers=CSV)
    assert (await decide(shop.api, ME, "taught", context={"word": CANARY}))["offers"] == []


async def set_aside(shop: Nextbest) -> None:
    """Entries that nobody can read, of the person and of others."""
    state = shop.api.state
    async with state.engine.begin() as connection:
        bucket = state.keys.bucket(ME)
        entry = [b"t", b"decided", b"id", b"broken", b"h", f'{{"customer_id":"{ME}"'.encode()]
        await connection.execute(
            text("INSERT INTO dead_letters VALUES (:bucket, '1-1', 'broken', :entry)"),
            {"bucket": bucket, "entry": entry},
        )
        # Outcomes of decisions that stand in the stream alone, or nowhere but here.
        for at, decision_id in (("1-0", "broken"), ("1-2", "own-late"), ("1-3", "of somebody else")):
            late = [b"t", b"outcome", b"id", decision_id.encode(), b"o", b"gold"]
            query = text("INSERT INTO dead_letters VALUES (:bucket, :at, 'broken', :entry)")
            await connection.execute(query, {"bucket": bucket, "at": at, "entry": late})
        query = text("INSERT INTO dead_letters VALUES (-1, :at, 'no such type', :entry)")
        for at, event in {
            "1-1": f'{{"customer_id": " {ME} ", "type": "none"}}',
            "1-2": f'{{"customer_id": "{ME}", "type": "no',
            "1-3": '{"customer_id": "other-1", "type": "none"}',
        }.items():
            await connection.execute(query, {"at": at, "entry": [b"event", event.encode()]})
        query = text(
            "INSERT INTO shadow_choices (decided_at, decision_id, policy, rank, placement, took_us, error, judged_ms)"
            " SELECT decided_at, decision_id, 'broken@1', 0, placement, 1, :error, 1 FROM decisions"
            " WHERE customer_id = :id"
        )
        await connection.execute(query, {"id": ME, "error": f"ValueError: no number: '{CANARY}'"})
        await connection.execute(text("INSERT INTO canary_customers VALUES (1, :id)"), {"id": ME})
        await connection.execute(
            text("INSERT INTO asked_days VALUES ('2026-01-02', :id, '{}', 1, NULL, 1, 1, 1, 1)"), {"id": ME}
        )
        await connection.execute(
            text("INSERT INTO fired_customers VALUES (now(), :id, '{}', 1, 'home', 'web', NULL)"), {"id": ME}
        )
        await connection.execute(
            text("INSERT INTO rolled_up_days VALUES ('2026-01-02', true), ('2026-01-03', false)")
        )


def files_with(folder: Path, needle: bytes) -> list[str]:
    """Files below a folder that have a text in them."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]
