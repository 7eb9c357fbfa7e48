"""Signals: what closes offers while it holds, and for a time after, in every channel."""

import asyncio
from typing import Any, cast

import pytest
import pytest_asyncio
from sqlalchemy import text

from decisioning.privacy.erasure_service import PersonEraser
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from storage.errors import RedisUnavailable
from tests.support.api import Instance, Nextbest, decide, problem_of, put_offer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANGRY: dict[str, Any] = {
    "when": "context.mood == 'angry'",
    "reason": "in-peace",
    "scope": {"except_goals": ["serve", "retain"]},
    "lasts_s": 86_400,
}
COMPLAINTS = {"event": "complaint", "function": "count", "window": "90d"}
SALES, SERVICE = {"gold", "silver", "loan"}, {"call-back", "bill"}
EVERYTHING = SALES | SERVICE
TOLD = {"signal": "angry", "reason": "in-peace", "name": "Leave in peace"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peace(shop: Nextbest) -> Nextbest:
    """Sales and service offers, on the web and by phone, and the signals of a call centre."""
    api = shop.api
    await api.ok("PUT", "/v1/reasons/in-peace", json={"name": "Leave in peace"})
    await api.ok("PUT", "/v1/reasons/complaint", json={"name": "A complaint is open"})
    await api.ok("PUT", "/v1/attributes/context.mood", json={"type": "string"})
    await api.ok("PUT", "/v1/attributes/context.case", json={"type": "string"})
    await api.ok("PUT", "/v1/attributes/customer.nps", json={"type": "int"})
    await api.ok("PUT", "/v1/groups/loans", json={"name": "Loans", "goal": "acquire"})
    await api.ok("PUT", "/v1/groups/service", json={"name": "Service", "goal": "serve"})
    await put_offer(api, "loan", group="loans")
    await put_offer(api, "call-back", group="service")
    await put_offer(api, "bill", transactional=True)
    for offer in EVERYTHING:
        treatment = {"channel": "agent", "language": "en", "title": offer}
        await api.ok("PUT", f"/v1/offers/{offer}/treatments/desk", json=treatment)
    open_ = {"slots": 9, "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/wide", json=open_ | {"channel": "web"})
    await api.ok("PUT", "/v1/placements/desk", json=open_ | {"channel": "agent"})
    schema = {"properties": {"about": {"type": "string"}}}
    await api.ok("PUT", "/v1/event-types/complaint", json={"name": "Complaint", "json_schema": schema})
    await api.ok("PUT", "/v1/aggregates/complaints_90d", json=COMPLAINTS)
    await api.ok("PUT", "/v1/signals/angry", json=ANGRY)
    complaining = {"when": "events.complaints_90d >= 2", "reason": "complaint"}
    await api.ok("PUT", "/v1/signals/complaining", json=complaining | {"scope": {"goals": ["acquire"]}})
    detractor = {"when": "customer.nps <= 3", "reason": "complaint"}
    scope = {"groups": ["loans"], "channels": ["agent"]}
    await api.ok("PUT", "/v1/signals/detractor", json=detractor | {"scope": scope})
    return shop


async def offered(api: Instance, customer: str, placement: str = "wide", **fields: Any) -> set[str]:
    """The offers of a decision."""
    made = await decide(api, customer, placement, **fields)
    return {offer["offer_id"] for offer in made["offers"]}


def mood(name: str) -> dict[str, Any]:
    """The field of a request that tells a mood."""
    return {"context": {"mood": name}}


async def test_while_a_signal_holds_its_scope_is_closed_and_the_answer_says_why(peace: Nextbest) -> None:
    api = peace.api
    assert await offered(api, "calm", **mood("good")) == EVERYTHING
    made = await decide(api, "cross", "desk", **mood("angry"), explain=True)
    assert {o["offer_id"] for o in made["offers"]} == SERVICE
    (told,) = made["signals"]
    assert TOLD | {"until": told["until"]} == told
    stops = {c["offer_id"]: c.get("stops", []) for c in made["explanation"]}
    for offer in SALES:
        (stop,) = stops[offer]
        assert (stop["stage"], stop["name"], stop["observed"]) == ("signal", "signal angry", "Leave in peace")
    assert "signals" not in await decide(api, "calm", "desk", **mood("good"))


async def test_it_lasts_in_every_channel_shows_and_stays_after_a_rebuild(peace: Nextbest) -> None:
    api = peace.api
    assert await offered(api, "carl", "desk", **mood("angry")) == SERVICE
    for _ in range(2):
        made = await decide(api, "carl", "wide", explain=True)
        assert {o["offer_id"] for o in made["offers"]} == SERVICE
        (stop,) = next(c["stops"] for c in made["explanation"] if c["offer_id"] == "gold")
        assert (stop["stage"], stop["observed"]) == ("signal", "Leave in peace")
        assert stop["allowed_again_ms"] > clock.now_ms()
        assert [s["signal"] for s in made["signals"]] == ["angry"]
        (shown,) = (await api.ok("GET", "/v1/customers/carl/suppressions"))["signals"]
        assert shown["scope"]["except_goals"] == ["serve", "retain"]
        assert (shown["signal"], shown["name"]) == ("angry", "Leave in peace")
        state = api.state
        await peace.worker.drain()
        await state.redis.delete(state.keys.contact("carl"))
        rebuilder = Rebuilder(
            state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
        )
        await rebuilder.rebuild()


async def test_lifted_it_closes_nothing_also_after_a_rebuild_until_it_holds_again(
    peace: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, state, path = peace.api, peace.api.state, "/v1/customers/made-up/signals/angry"
    problem_of(await api.call("DELETE", path), 404)
    await api.ok("POST", "/v1/customers/made-up/merge", json={"visitor_id": "before"})
    for customer in ("visitor:before", "made-up", "still"):
        assert await offered(api, customer, **mood("angry")) == SERVICE
    answer = await api.call("DELETE", f"{path}?reason=made+up", role="ops")
    assert answer.status_code == 204, answer.text
    problem_of(await api.call("DELETE", path), 404)
    await peace.worker.drain()
    await state.redis.delete(*(state.keys.contact(name) for name in ("made-up", "visitor:before", "still")))
    rebuilder = Rebuilder(state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    for _ in range(2):
        assert await offered(api, "made-up") == await offered(api, "visitor:before") == EVERYTHING
        assert (await api.ok("GET", "/v1/customers/made-up/suppressions"))["signals"] == []
        await rebuilder.rebuild()
    assert await offered(api, "still") == SERVICE
    noted, merged = (await api.ok("GET", "/v1/privacy/actions?customer_id=made-up", role="ops"))["actions"]
    assert (noted["action"], noted["details"]) == ("lifted", {"signal": "angry"})
    assert merged["action"] == "merged"
    assert noted["reason"] == "made up"
    assert await offered(api, "made-up", **mood("angry")) == SERVICE
    assert await offered(api, "made-up") == SERVICE
    monkeypatch.setattr("decisioning.contact.store_lifting.redis_errors", _away)
    assert (await api.call("DELETE", path)).status_code == 503  # and may be repeated
    monkeypatch.undo()
    assert (await api.call("DELETE", path)).status_code == 204
    assert await offered(api, "made-up") == EVERYTHING


def _away() -> Any:
    raise RedisUnavailable("away")


@pytest.mark.parametrize("keep_out", [False, True])
async def test_what_is_lifted_during_an_erasure_leaves_no_id_behind(
    peace: Nextbest, monkeypatch: pytest.MonkeyPatch, keep_out: bool
) -> None:
    api, customer = peace.api, f"erased-{keep_out}"
    path = f"/v1/customers/{customer}/signals/angry"
    lifted = []

    async def lift(seconds: float) -> None:
        lifted.append((await api.call("DELETE", path, role="ops")).status_code)

    monkeypatch.setattr(PersonEraser.__init__, "__defaults__", (lift,))
    await offered(api, customer, **mood("angry"))
    body = {"keep_out": keep_out}
    erased = await api.ok("POST", f"/v1/customers/{customer}/erase", json=body, role="ops")
    assert lifted[0] == (409 if keep_out else 204)
    assert erased["lifted_signals"] == (0 if keep_out else 1)
    async with peace.api.state.engine.connect() as connection:
        query = text("SELECT count(*) FROM lifted_signals WHERE customer_id = :id")
        assert await connection.scalar(query, {"id": customer}) == 0


async def test_it_ends_and_goes_by_the_catalogue_in_force(peace: Nextbest) -> None:
    api = peace.api
    assert await offered(api, "ended", **mood("angry")) == SERVICE
    contact, redis = api.state.keys.contact("ended"), cast(Any, api.state.redis)
    (member,) = [m for m in await redis.zrange(contact, 0, -1) if b":signal/angry:" in m]
    await redis.zadd(contact, {member: clock.now_ms() - 86_400_000})
    assert await offered(api, "ended") == EVERYTHING
    assert await offered(api, "shorter", **mood("angry")) == SERVICE
    await api.ok("PATCH", "/v1/signals/angry", json={"scope": {"groups": ["loans"], "except_goals": []}})
    assert await offered(api, "shorter") == EVERYTHING - {"loan"}
    await api.replace("/v1/signals/angry", json=ANGRY)


async def test_one_that_does_not_last_is_over_with_the_decision(peace: Nextbest) -> None:
    api = peace.api
    for n in range(2):
        event = {"event_id": f"e{n}", "customer_id": "cora", "type": "complaint"}
        await api.ok("POST", "/v1/events", json=event)
    made = await decide(api, "cora", "wide", explain=True)
    assert {o["offer_id"] for o in made["offers"]} == EVERYTHING - {"loan"}
    assert made["signals"] == [
        {"signal": "complaining", "reason": "complaint", "name": "A complaint is open", "until": None}
    ]
    assert (await api.ok("GET", "/v1/customers/cora/suppressions"))["signals"] == []


async def test_a_signal_of_one_channel_closes_nothing_elsewhere(peace: Nextbest) -> None:
    api = peace.api
    await api.ok("PUT", "/v1/customers/nina", json={"indicators": {"nps": 2}})
    assert await offered(api, "nina", "desk") == EVERYTHING - {"loan"}
    assert await offered(api, "nina", "wide") == EVERYTHING


async def test_an_influencer_who_complains_is_offered_service_and_nothing_else(peace: Nextbest) -> None:
    """A signal closes sales to whom many listen at the first complaint, and a rule opens a desk of their own."""
    api = peace.api
    await api.ok("PUT", "/v1/attributes/customer.influencer", json={"type": "bool"})
    when = "customer.influencer && events.complaints_90d >= 1"
    signal = {"when": when, "reason": "complaint", "scope": {"except_goals": ["serve", "retain"]}}
    await api.ok("PUT", "/v1/signals/influencer", json=signal)
    rule = {"name": "for influencers", "tier": "applicability", "when": "customer.influencer"}
    await put_offer(api, "own-desk", group="service", rules=[rule])
    await api.ok(
        "PUT",
        "/v1/offers/own-desk/treatments/desk",
        json={"channel": "agent", "language": "en", "title": "x"},
    )
    for customer, influencer in (("star", True), ("fan", False), ("calm-star", True), ("unknown", None)):
        attributes = {} if influencer is None else {"influencer": influencer}
        await api.ok("PUT", f"/v1/customers/{customer}", json={"attributes": attributes})
        if customer != "calm-star":
            event = {"event_id": f"{customer}-1", "customer_id": customer, "type": "complaint"}
            await api.ok("POST", "/v1/events", json=event)
    made = await decide(api, "star", "desk", explain=True)
    assert {o["offer_id"] for o in made["offers"]} == SERVICE | {"own-desk"}
    assert [(s["signal"], s["name"]) for s in made["signals"]] == [("influencer", "A complaint is open")]
    for offer in SALES:
        (stop,) = next(c["stops"] for c in made["explanation"] if c["offer_id"] == offer)
        assert (stop["stage"], stop["name"]) == ("signal", "signal influencer")
    for placement in ("desk", "wide"):
        assert await offered(api, "calm-star", placement) == EVERYTHING | {"own-desk"}
        assert await offered(api, "fan", placement) == EVERYTHING
        assert await offered(api, "unknown", placement) == EVERYTHING, "of whom it is not known is none"
    await api.ok("DELETE", "/v1/signals/influencer")


async def test_dry_runs_and_what_is_taken_back_are_not_remembered(peace: Nextbest) -> None:
    api = peace.api
    assert await offered(api, "dry", **mood("angry"), dry_run=True) == SERVICE
    assert await offered(api, "dry") == EVERYTHING
    made = await decide(api, "back", "wide", **mood("angry"))
    at_ms = (await api.ok("GET", f"/v1/decisions/{made['decision_id']}"))["decided_at_ms"]
    await api.state.decision_log.withdraw("back", made["decision_id"], at_ms, clock.now_ms())
    assert await offered(api, "back") == EVERYTHING


async def test_decisions_at_the_same_moment_never_offer_what_one_of_them_closed_before(
    peace: Nextbest,
) -> None:
    api = peace.api
    told = [decide(api, "crowd", "wide", **mood("angry" if n == 0 else "good")) for n in range(12)]
    made = await asyncio.gather(*told)
    await peace.worker.drain()
    order = {}
    for answer in made:
        record = await api.ok("GET", f"/v1/decisions/{answer['decision_id']}")
        place = tuple(int(part) for part in record["log"]["position"].split("-"))
        order[place] = (bool(record.get("noted")), {o["offer_id"] for o in answer["offers"]})
    closed = False
    for _, (noted, offers) in sorted(order.items()):
        closed = closed or noted
        assert offers == (SERVICE if closed else EVERYTHING)
    assert closed


async def test_what_a_signal_protects_is_withheld_while_redis_has_lost_what_it_looks_at(
    peace: Nextbest,
) -> None:
    api, state = peace.api, peace.api.state
    await api.ok("PATCH", "/v1/signals/angry", json={"lasts_s": None})
    marks = {key: await state.redis.get(key) for key in map(state.keys.whole, range(state.keys.buckets))}
    await state.redis.delete(*marks)
    made = await decide(api, "lost", "wide", explain=True)
    assert "loan" not in {o["offer_id"] for o in made["offers"]}
    assert "contact_history_unavailable" in made["degraded"]
    stops = next(c["stops"] for c in made["explanation"] if c["offer_id"] == "loan")
    assert ("signal complaining", "what it looks at cannot be read") in [
        (stop["name"], stop["observed"]) for stop in stops
    ]
    await state.redis.mset({key: mark for key, mark in marks.items() if mark})
    assert "loan" in await offered(api, "lost")
    await api.ok("PUT", "/v1/signals/angry", json=ANGRY)


async def test_it_is_withheld_too_where_what_was_lost_leaves_no_value(peace: Nextbest) -> None:
    api, state = peace.api, peace.api.state
    await api.ok("PATCH", "/v1/signals/angry", json={"lasts_s": None})
    last = {"event": "complaint", "function": "last", "property": "about"}
    await api.ok("PUT", "/v1/aggregates/last_about", json=last)
    complaining = await api.ok("GET", "/v1/signals/complaining")
    await api.ok("PATCH", "/v1/signals/complaining", json={"when": "events.last_about == 'loan'"})
    await api.ok("DELETE", "/v1/aggregates/complaints_90d")  # whose 0 would be a value
    marks = {key: await state.redis.get(key) for key in map(state.keys.whole, range(state.keys.buckets))}
    await state.redis.delete(*marks)
    made = await decide(api, "lost-last", "wide", explain=True)
    assert "loan" not in {o["offer_id"] for o in made["offers"]}
    assert "contact_history_unavailable" in made["degraded"]
    await state.redis.mset({key: mark for key, mark in marks.items() if mark})
    assert "loan" in await offered(api, "lost-last")
    await api.ok("PUT", "/v1/aggregates/complaints_90d", json=COMPLAINTS)
    await api.ok("PATCH", "/v1/signals/complaining", json={"when": complaining["when"]})
    await api.ok("PUT", "/v1/signals/angry", json=ANGRY)


async def test_a_decision_with_signals_is_explained_from_the_log(peace: Nextbest) -> None:
    api = peace.api
    made = await decide(api, "logged", "desk", **mood("angry"))
    await peace.worker.drain()
    found = await api.ok("GET", f"/v1/decisions/{made['decision_id']}/explanation")
    gold = next(c for c in found["candidates"] if c["offer_id"] == "gold")
    assert [(s["stage"], s["observed"]) for s in gold["stops"]] == [("signal", "Leave in peace")]
    record = await api.ok("GET", f"/v1/decisions/{made['decision_id']}")
    assert record["noted"] == ["angry"]


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"reason": "in-peac"}, "reason", "in-peac"),
        ({"when": "context.moood == 'angry'"}, "when", "context.mood"),
        ({"when": "offer.group == 'cards'"}, "when", "must not refer to the offer"),
        ({"scope": {"groups": ["lons"]}}, "scope.groups", "lons"),
        ({"scope": {"channels": ["agnet"]}}, "scope.channels", "agnet"),
        ({"scope": {"goals": ["serve"], "except_goals": ["serve"]}}, "scope.except_goals", "serve"),
        ({"lasts_s": 0}, "lasts_s", "1"),
    ],
)
async def test_what_leads_nowhere_is_refused(
    peace: Nextbest, change: dict[str, Any], field: str, said: str
) -> None:
    found = problem_of(await peace.api.call("PUT", "/v1/signals/bad", json=ANGRY | change), 422)
    (error,) = found["errors"]
    assert error["field"].endswith(field)
    assert said in str(error)


async def test_the_reason_of_a_call_is_one_of_the_catalogue(peace: Nextbest) -> None:
    api = peace.api
    bad = {"type": "int", "values_from": "reasons"}
    problem_of(await api.call("PUT", "/v1/attributes/context.reason", json=bad), 422)
    await api.ok("PUT", "/v1/attributes/context.reason", json={"type": "string", "values_from": "reasons"})
    assert await offered(api, "caller", context={"reason": "complaint"}) == EVERYTHING
    assert await offered(api, "caller", context={"mood": "good"}) == EVERYTHING
    body = {"customer_id": "caller", "placement": "wide", "context": {"reason": "complaints"}}
    found = problem_of(await api.call("POST", "/v1/decisions", json=body), 422, "context.reason")
    assert "did you mean 'complaint'?" in found["detail"]
    wrong = {"when": "context.reason == 'complaints'"}
    assert "complaint" in (await api.call("PUT", "/v1/segments/calling", json=wrong)).text
    questions = {q["name"]: q["values"] for q in (await api.ok("GET", "/v1/desk"))["questions"]}
    assert questions["reason"] == ["complaint", "in-peace"]
