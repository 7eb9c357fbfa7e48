"""Triggers fire on what happens to customers, on what does not, and on days: once each, whatever is started anew."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
import pytest_asyncio

from app.worker.archiver import TRIM_INTERVAL_S, ArchiverJob
from decisioning.errors import LogCodecError
from decisioning.log.lookup_service import decision_of
from decisioning.triggers import days_service
from storage import clock
from storage.clock import DAY_MS, HOUR_MS, to_ms
from tests.support.api import Nextbest, decide, problem_of, tell
from tests.support.triggers import STREAM, Triggers

pytestmark = pytest.mark.asyncio(loop_scope="module")

HALF_HOUR_S = 1800


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def triggers(shop: Nextbest) -> Triggers:
    api = shop.api
    for path, kind in (("tier", "string"), ("birth_date", "string"), ("contract_ends", "string")):
        await api.ok("PUT", f"/v1/attributes/customer.{path}", json={"type": kind})
    for name in ("call_dropped", "basket", "order", "login"):
        schema = {"properties": {"number": {"type": "string"}, "cell": {"type": "string"}}}
        body = {"name": name, "json_schema": schema, "personal": ["number"]}
        await api.ok("PUT", f"/v1/event-types/{name}", json=body)
    dropped = {"event": "call_dropped", "function": "count", "window": "24h"}
    await api.ok("PUT", "/v1/aggregates/dropped_1d", json=dropped)
    await api.ok("PUT", "/v1/outcomes/quoted", json={"name": "Quoted", "reward": 0.3, "place": 50})
    for customer_id, tier in (("ann", "A"), ("bob", "B")):
        await api.ok("PUT", f"/v1/customers/{customer_id}", json={"attributes": {"tier": tier}})
    return Triggers(shop)


async def test_three_dropped_calls_in_a_day_and_tier_a(triggers: Triggers) -> None:
    when = "events.dropped_1d >= 3 && customer.tier == 'A'"
    await triggers.declare("dropped", {"event": "call_dropped"}, when=when, again_after_s=86_400)
    for customer_id in ("ann", "bob"):
        for number in range(3):
            assert await triggers.fired("dropped") == []
            await triggers.tell(
                "call_dropped", customer_id, f"{customer_id}-{number}", number="+34", cell="7"
            )
            if (customer_id, number) != ("ann", 2):
                assert await triggers.follow() == 0
        if customer_id == "ann":
            assert await triggers.follow() == 1
            (row,) = await triggers.rows("dropped")
            break
    await triggers.tell("call_dropped", "ann", "ann-3")
    for number in range(3):
        await triggers.tell("call_dropped", "bob", f"bob-{number}")
    assert await triggers.follow() == 0, "not again within a day, and not for another tier"
    assert (row.customer_id, row.occasion, row.status) == ("ann", "event ann-2", "due")
    assert row.cause["properties"] == {"cell": "7"}, "what is personal is left out"
    assert to_ms(row.deadline_at) - to_ms(row.fired_at) == 3600_000
    assert row.next_attempt_at == row.fired_at


async def test_a_complaint_and_then_a_dropped_call_within_the_hour(triggers: Triggers) -> None:
    api = triggers.nextbest.api
    await api.ok("PUT", "/v1/event-types/complaint", json={"name": "Complaint"})
    since = {"event": "complaint", "function": "recency", "unit": "hours"}
    await api.ok("PUT", "/v1/aggregates/hours_since_complaint", json=since)
    within = {"event": "complaint", "function": "count", "window": "1h"}
    await api.ok("PUT", "/v1/aggregates/complaints_1h", json=within)
    conditions = {"since": "events.hours_since_complaint < 1.0", "within": "events.complaints_1h >= 1"}
    for name, when in conditions.items():
        await triggers.declare(name, {"event": "call_dropped"}, when=when)
    await triggers.tell("call_dropped", "reversed", "reversed-1")
    await triggers.follow()
    await triggers.tell("complaint", "reversed", "reversed-2")
    await triggers.tell("complaint", "soon", "soon-1", ago_s=HALF_HOUR_S)
    await triggers.tell("complaint", "long-ago", "long-ago-1", ago_s=4 * HALF_HOUR_S)
    for customer_id in ("soon", "long-ago", "never"):
        await triggers.tell("call_dropped", customer_id, f"{customer_id}-2")
    await triggers.follow()
    for name in conditions:
        assert await triggers.fired(name) == [("soon", "event soon-2")], name


async def test_nothing_fires_of_what_happened_before_there_was_a_trigger(triggers: Triggers) -> None:
    await triggers.tell("login", "early", "early-1")
    await triggers.follow()
    await triggers.declare("login", {"event": "login"})
    await triggers.tell("login", "early", "early-2")
    await triggers.tell("login", "early", "early-2")
    assert await triggers.follow() == 1
    triggers.job = triggers.make()  # another worker
    assert await triggers.follow() == 0
    assert await triggers.fired("login") == [("early", "event early-2")]


async def test_a_basket_that_is_left_for_half_an_hour(triggers: Triggers) -> None:
    await triggers.declare("basket", {"event": "basket", "unless": ["order"], "after_s": HALF_HOUR_S})
    await triggers.tell("basket", "left", "left-1", ago_s=1700)
    await triggers.tell("basket", "again", "again-1", ago_s=1700)
    await triggers.tell("basket", "again", "again-2", ago_s=10)
    await triggers.tell("basket", "ordered", "ordered-1", ago_s=1700)
    await triggers.tell("order", "ordered", "ordered-2", ago_s=5)
    await triggers.tell("order", "before", "before-1", ago_s=1790)
    await triggers.tell("basket", "before", "before-2", ago_s=1700)
    assert await triggers.follow() == 0
    triggers.ahead_ms = 101_000
    assert await triggers.follow() == 2
    assert await triggers.fired("basket") == [("left", "event left-1"), ("before", "event before-2")]
    (fired, _) = await triggers.rows("basket")
    assert abs(to_ms(fired.fired_at) - clock.now_ms() - 100_000) < 60_000, "it fired when it was due"
    triggers.ahead_ms = (HALF_HOUR_S - 5) * 1000
    assert await triggers.follow() == 1
    assert ("again", "event again-2") in await triggers.fired("basket")
    triggers.ahead_ms = DAY_MS
    assert await triggers.follow() == 0
    triggers.ahead_ms = 0


async def test_an_order_that_was_told_before_the_basket_prevents_it(triggers: Triggers) -> None:
    await triggers.tell("order", "late", "late-1", ago_s=100)
    await triggers.tell("basket", "late", "late-2", ago_s=1700)
    await triggers.follow()
    await triggers.nextbest.worker.archive()
    triggers.ahead_ms = 200_000
    assert await triggers.follow() == 0
    triggers.ahead_ms = 0


async def test_what_a_visitor_left_is_no_reason_once_the_customer_has_ordered(triggers: Triggers) -> None:
    api, last = triggers.nextbest.api, {"event": "basket", "unless": ["order"], "after_s": HALF_HOUR_S}
    await triggers.declare("visited", last, again_after_s=86_400)
    pages = {name: f"visitor:{name:->16}" for name in ("buys", "leaves", "bought")}
    for name, page in pages.items():
        await triggers.tell("basket", page, f"{name}-1", ago_s=1700)
    await triggers.tell("order", "bought", "bought-2", ago_s=100)
    await triggers.follow()
    for name, page in pages.items():
        await api.ok("POST", f"/v1/customers/{name}/merge", json={"visitor_id": page}, role="frontend")
    await triggers.tell("order", "buys", "buys-2", ago_s=50)
    await triggers.follow()
    await triggers.nextbest.worker.archive()
    triggers.ahead_ms = 101_000
    await triggers.follow()
    assert await triggers.fired("visited") == [("leaves", "event leaves-1")]
    # Told of the page: it is the customer who was told lately.
    await triggers.tell("basket", pages["leaves"], "leaves-2", ago_s=10)
    triggers.ahead_ms = HALF_HOUR_S * 1000
    await triggers.follow()
    assert ("leaves", "event leaves-2") not in await triggers.fired("visited")
    assert await triggers.rows("visited", "trigger_waits", "since") == []
    triggers.ahead_ms = 0


async def test_what_a_visitor_left_counts_though_the_customer_left_something_for_a_trigger_that_is_gone(
    triggers: Triggers,
) -> None:
    api, page = triggers.nextbest.api, "visitor:returns---------"
    await triggers.declare("again", {"event": "login", "after_s": HALF_HOUR_S})
    await triggers.tell("login", "returns", "returns-1", ago_s=10)
    await triggers.follow()
    body = await api.ok("GET", "/v1/triggers/again", role="ops")
    await api.ok("DELETE", "/v1/triggers/again", role="ops")
    await api.ok("PUT", "/v1/triggers/again", json=body, role="ops")
    await triggers.tell("login", page, "returns-2", ago_s=1700)
    await triggers.follow()
    assert len(await triggers.rows("again", "trigger_waits", "since")) == 2
    await api.ok("POST", "/v1/customers/returns/merge", json={"visitor_id": page}, role="frontend")
    triggers.ahead_ms = 101_000
    await triggers.follow()
    assert await triggers.fired("again") == [("returns", "event returns-2")]
    triggers.ahead_ms = 0


async def test_quoted_and_not_confirmed_after_a_week(triggers: Triggers) -> None:
    week = {"outcome": "quoted", "unless": ["accepted"], "after_s": 604_800}
    await triggers.declare("quoted", week | {"offer": "gold"})
    await triggers.declare("cards", week | {"group": "cards"}, when="!history.answered('group:cards', '30d')")
    had = "history.had('quoted', 'gold', '30d') && !history.had('accepted', 'gold')"
    await triggers.declare("had", week | {"offer": "gold"}, when=had)
    never = "history.count_had('quoted', 'group:cards', '30d') == 0"
    await triggers.declare("never", week | {"offer": "gold"}, when=never)
    await triggers.declare("accepted", {"outcome": "accepted"})
    api, told = triggers.nextbest.api, {}
    for customer_id in ("q1", "q2"):
        answer = told[customer_id] = await decide(api, customer_id, "desk")
        while answer["offers"][0]["offer_id"] != "gold":  # which of two it is, is drawn
            answer = told[customer_id] = await decide(api, customer_id, "desk")
        await tell(api, answer["decision_id"], "gold", "quoted")
    assert await triggers.follow() == 0
    await tell(api, told["q2"]["decision_id"], "gold", "accepted")
    assert await triggers.follow() == 1
    assert [customer_id for customer_id, _ in await triggers.fired("accepted")] == ["q2"]
    triggers.ahead_ms = 7 * DAY_MS
    assert await triggers.follow() == 3
    occasion = f"outcome {told['q1']['decision_id']}/gold/quoted"
    assert await triggers.fired("quoted") == await triggers.fired("cards") == [("q1", occasion)]
    assert (await triggers.fired("had"), await triggers.fired("never")) == ([("q1", occasion)], [])
    triggers.ahead_ms = 0


async def test_a_damaged_decision_is_passed_over_and_those_behind_it_fire(
    triggers: Triggers, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, damaged = triggers.nextbest.api, set()

    async def find(decision_id: str, *arguments: Any, **named: Any) -> Any:
        if decision_id in damaged:
            raise LogCodecError("a decision cannot be read")
        return await decision_of(decision_id, *arguments, **named)

    monkeypatch.setattr("app.worker.triggers.making.decision_of", find)
    triggers.job = triggers.make()
    await triggers.declare("told", {"outcome": "clicked"})
    for customer_id in ("damaged", "whole"):
        decision_id = (await decide(api, customer_id, "desk"))["decision_id"]
        damaged |= {decision_id} if customer_id == "damaged" else set()
        await tell(api, decision_id, "gold", "clicked")
    await triggers.follow()
    assert [customer_id for customer_id, _ in await triggers.fired("told")] == ["whole"]


async def test_unused_for_sixty_days_and_dormant_again(triggers: Triggers) -> None:
    await triggers.tell("login", "idle", "idle-1", ago_s=5 * 86_400)
    await triggers.nextbest.worker.archive()
    await triggers.declare("unused", {"idle": ["login", "order"], "after_s": 60 * 86_400})
    triggers.ahead_ms = 55 * DAY_MS + 1000
    await triggers.follow()
    assert await triggers.fired("unused") == [("idle", "event idle-1")], "the archive is known"
    triggers.ahead_ms = 300 * DAY_MS
    await triggers.follow()
    assert [c for c, _ in await triggers.fired("unused")].count("idle") == 1, "once"
    triggers.ahead_ms = 0
    await triggers.tell("login", "idle", "idle-2", ago_s=86_400)
    await triggers.tell("order", "idle", "idle-3", ago_s=3600)
    await triggers.follow()
    triggers.ahead_ms = 60 * DAY_MS
    await triggers.follow()
    assert ("idle", "event idle-3") in await triggers.fired("unused"), "dormant again"
    assert [c for c, _ in await triggers.fired("unused")].count("idle") == 2
    triggers.ahead_ms = 0


async def test_birthdays_and_contracts_that_end(triggers: Triggers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days_service, "AT_ONCE", 1)  # so each customer is in another turn
    api, now = triggers.nextbest.api, datetime.now(UTC).date()
    birthday, ends = now + timedelta(days=3), now + timedelta(days=48)
    born = f"19{birthday:%y-%m-%d}" if (birthday.month, birthday.day) != (2, 29) else "1992-02-29"
    for customer_id, attributes in (
        ("born", {"birth_date": born, "contract_ends": ends.isoformat(), "tier": "A"}),
        ("not-a", {"birth_date": f"{born}T10:00:00", "tier": "B"}),
        ("other", {"birth_date": (birthday + timedelta(days=9)).isoformat(), "contract_ends": "soon"}),
        ("far", {"birth_date": born, "tier": "A", "time_zone": "Pacific/Honolulu"}),
    ):
        await api.ok("PUT", f"/v1/customers/{customer_id}", json={"attributes": attributes})
    yearly = {"date": "customer.birth_date", "yearly": True, "at": "09:00"}
    await triggers.declare("birthday", yearly, when="customer.tier == 'A'", within_s=86_400)
    maturity = {"date": "customer.contract_ends", "days": -45, "at": "09:00", "time_zone": "Europe/Madrid"}
    await triggers.declare("maturity", maturity, within_s=86_400)
    nine = to_ms(datetime.combine(birthday, time(9), UTC))
    occasion = f"day {birthday.isoformat()}"

    async def look(at_ms: int) -> list[str]:
        triggers.ahead_ms = at_ms - clock.now_ms()
        await triggers.look_for_days()
        return [customer_id for customer_id, _ in await triggers.fired("birthday")]

    assert await look(nine - 60_000) == []
    assert await triggers.fired("maturity") == [("born", occasion)], "it is nine earlier in Madrid"
    assert await look(nine + 60_000) == ["born"]
    triggers.job = triggers.make()  # another worker
    await triggers.follow()
    assert await look(nine + 120_000) == ["born"]
    assert await look(nine + 8 * HOUR_MS) == ["born"]
    assert await look(nine + 11 * HOUR_MS) == ["born", "far"], "nine in Honolulu"
    assert {occasion for _, occasion in await triggers.fired("birthday")} == {occasion}
    assert await look(nine + 40 * DAY_MS) == ["born", "far"], "what is beyond its deadline is not looked for"
    assert await look(nine + 41 * DAY_MS) == ["born", "far"]
    triggers.ahead_ms = 0


@pytest.mark.parametrize("alone", [False, True], ids=["beside others", "alone"])
async def test_a_paused_trigger_rests_and_waits_that_began_before_are_kept(
    triggers: Triggers, alone: bool
) -> None:
    name, on = f"resting-{alone}", {"event": "basket", "after_s": 60}
    api = triggers.nextbest.api
    if alone:
        for other in list((await triggers.job._refresh()).triggers):
            await api.ok("DELETE", f"/v1/triggers/{other}", role="ops")
    await triggers.declare(name, on)
    await triggers.tell("basket", f"rests-{alone}", f"rests-{alone}-1")
    await triggers.tell("basket", f"over-{alone}", f"over-{alone}-1", ago_s=40)
    await triggers.follow()
    await triggers.declare(name, on, status="paused")
    assert len(await triggers.rows(name, "trigger_waits", "due_at")) == 2
    await triggers.tell("basket", f"meanwhile-{alone}", f"meanwhile-{alone}-1")
    triggers.ahead_ms = 30_000
    await triggers.follow()
    await triggers.declare(name, on)
    triggers.ahead_ms = 120_000
    await triggers.follow()
    assert await triggers.fired(name) == [(f"rests-{alone}", f"event rests-{alone}-1")]
    triggers.ahead_ms = 0


async def test_what_a_trigger_waited_for_is_forgotten_piece_by_piece(
    triggers: Triggers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.worker.triggers.settling.FORGOTTEN_AT_ONCE", 2)
    await triggers.declare("gone", {"event": "basket", "after_s": 60})
    for number in range(5):
        await triggers.tell("basket", f"gone-{number}", f"gone-{number}")
    await triggers.follow()
    await triggers.nextbest.api.ok("DELETE", "/v1/triggers/gone", role="ops")
    await triggers.follow()
    left = []
    while not await triggers.job.settle():
        left.append(len(await triggers.rows("gone", "trigger_waits", "due_at")))
    assert left == [3, 1, 0]


async def test_waits_on_idle_customers_begin_slice_by_slice_beside_the_follower(triggers: Triggers) -> None:
    for hours in (144, 72, 12):
        await triggers.tell("login", f"slice-{hours}", f"slice-{hours}", ago_s=hours * 3600)
        await triggers.tell("login", "slice-all", f"slice-all-{hours}", ago_s=hours * 3600)
    await triggers.nextbest.worker.archive()
    triggers.job = triggers.make()
    await triggers.follow()
    triggers.job.settling.slice_ms, triggers.job.settling.ticks_s = 2 * DAY_MS, iter(range(99)).__next__
    body = {"on": {"idle": ["login"], "after_s": 5 * 86_400}, "placement": "home", "deliver": STREAM}
    await triggers.nextbest.api.ok("PUT", "/v1/triggers/sliced", json=body, role="ops")
    await triggers.follow()

    async def waiting() -> set[str]:
        rows = await triggers.rows("sliced", "trigger_waits", "due_at")
        return {row.occasion for row in rows if row.customer_id.startswith("slice")}

    assert await waiting() == set(), "nothing of it is done within a turn"
    assert await triggers.job.settle() == 0.0
    newest = {"event slice-12", "event slice-all-12"}
    assert await waiting() == newest
    triggers.job = triggers.make()  # another worker goes on
    await triggers.follow()
    await triggers.settle()
    assert await waiting() == newest | {"event slice-72"}
    await triggers.settle()
    assert await waiting() == newest | {"event slice-72"}


async def test_what_triggers_have_not_seen_stays_in_the_streams_unless_redis_is_nearly_full(
    triggers: Triggers,
) -> None:
    await triggers.declare("kept", {"event": "login"})
    state, job = triggers.nextbest.api.state, triggers.nextbest.worker._archive
    redis: Any = state.redis
    log = state.keys.log(state.keys.bucket("kept"))
    archiver = ArchiverJob(
        job.archiver,
        job.reader,
        job.arms,
        job.feed,
        0.0,
        retain_ms=0,
        also_needed=triggers.job.follower.store.still_needed,  # type: ignore[attr-defined]
    )

    async def tell(first: int) -> None:
        for number in range(first, first + 12):
            await triggers.tell("login", "kept", f"kept-{number}")
        await triggers.nextbest.worker.learn()
        for _ in range(2):
            archiver._trimmed_s = -TRIM_INTERVAL_S
            await archiver.round()

    await redis.config_set("stream-node-max-entries", 2)  # trimming goes by nodes: make them small
    try:
        await tell(0)
        assert await redis.xlen(log) >= 12
        assert await triggers.follow() >= 12
        # In any order: the clock, which times them, may be set back by some milliseconds meanwhile.
        assert sorted(await triggers.fired("kept")) == sorted(
            ("kept", f"event kept-{number}") for number in range(12)
        )
        await tell(12)
        assert 12 <= await redis.xlen(log) < 18, "what they have seen is trimmed"
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", int(used / 0.95))
        archiver._trimmed_s = -TRIM_INTERVAL_S
        await archiver.round()
        assert await redis.xlen(log) < 6
    finally:
        await redis.config_set("maxmemory", 0)
        await redis.config_set("stream-node-max-entries", 100)


async def test_one_worker_at_a_time_follows(triggers: Triggers) -> None:
    other = triggers.make()
    catalogue = await other._refresh()
    async with triggers.job.follower.store.turn() as turn:
        assert turn is not None
        assert await other.follower.follow(catalogue, other._plan) is None
    assert await other.follower.follow(catalogue, other._plan) is not None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"on": {"event": "baskit"}}, "on.event"),
        ({"on": {"event": "basket", "idle": ["login"]}}, "on"),
        ({"on": {"date": "customer.tiers"}}, "on.date"),
        ({"when": "context.placement == 'home'"}, "triggers.odd.when"),
        ({"when": "offer.value > 1.0"}, "triggers.odd.when"),
        ({"placement": "nowhere"}, "placement"),
        ({"deliver": {"webhook": "https://example.com"}}, "deliver.secret"),
        ({"within_s": 0}, "within_s"),
    ],
)
async def test_what_cannot_fire_is_refused(shop: Nextbest, changes: dict[str, Any], field: str) -> None:
    body: dict[str, Any] = {"on": {"event": "basket"}, "placement": "home", "deliver": STREAM} | changes
    problem_of(await shop.api.call("PUT", "/v1/triggers/odd", json=body), 422, field)
