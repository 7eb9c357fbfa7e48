"""Rules over the customer's own history, over HTTP: saved, decided by, explained, tried out, and logged as facts."""

from typing import Any

import pytest
from sqlalchemy import text

from decisioning.recovery.store_rebuild import Rebuilder
from decisioning.recovery.store_restore import DecisionRestorer
from storage import clock
from storage.clock import DAY_MS
from storage.keys import Keys
from storage.redis import make_redis
from tests.support.api import BUCKETS, Instance, Nextbest, decide, problem_of, put_offer, tell
from tests.support.databases import mark_whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

REMIND = "history.shown('gold', '5d') && !history.answered('gold', '30d')"


def ids(answer: Any) -> list[str]:
    """The offers of a decision, by name."""
    return sorted(offer["offer_id"] for offer in answer["offers"])


def rule(when: str) -> dict[str, Any]:
    """The fields of an offer with one rule."""
    return {"rules": [{"name": "own", "tier": "eligibility", "when": when}]}


def stop_of(candidates: list[dict[str, Any]], offer_id: str) -> dict[str, Any]:
    """The one reason why an offer was stopped."""
    (found,) = (c["stops"] for c in candidates if c["offer_id"] == offer_id)
    (stop,) = found
    return dict(stop)


async def test_a_reminder_follows_an_offer_that_was_shown_and_not_answered(shop: Nextbest) -> None:
    api = shop.api
    await put_offer(api, "remind", value=30, **rule(REMIND))
    first = await decide(api, "ann", explain=True)
    assert "remind" not in ids(first)
    stop = stop_of(first["explanation"], "remind")
    assert stop["observed"] == {
        "history.shown('gold', '5d')": False,
        "history.answered('gold', '30d')": False,
    }
    await api.ok("PUT", "/v1/placements/wide", json={"channel": "web", "slots": 5, "control_share": 0})
    assert "remind" in ids(await decide(api, "ann", "wide"))
    await tell(api, first["decision_id"], "gold", "rejected")
    last = await decide(api, "ann", "wide", explain=True)
    assert "remind" not in ids(last)
    assert stop_of(last["explanation"], "remind")["observed"]["history.answered('gold', '30d')"] is True
    # What was read stands in the record: explained from the log alone, it is the same.
    await tell(api, last["decision_id"], "gold", "clicked")
    await shop.worker.drain()
    later = await api.ok("GET", f"/v1/decisions/{last['decision_id']}/explanation")
    assert stop_of(later["candidates"], "remind") == stop_of(last["explanation"], "remind")


async def test_a_rule_about_what_there_is_not_is_refused_with_what_may_have_been_meant(api: Instance) -> None:
    wrong = {"name": "next", "group": "cards"} | rule("history.shown('golt', '5d')")
    found = problem_of(await api.call("PUT", "/v1/offers/next", json=wrong), 422, "offers.next.rules.own")
    assert "there is no offer 'golt'" in found["detail"]
    assert "did you mean 'gold'?" in found["detail"]
    body = {"expression": "history.rejected('group:crads')"}
    found = problem_of(await api.call("POST", "/v1/rules/preview", json=body), 422, "expression")
    assert "did you mean 'group:cards'?" in found["detail"]
    placement = {"channel": "web", "log_facts": ["history.shown('golt')"]}
    refused = await api.call("PUT", "/v1/placements/logging", json=placement)
    problem_of(refused, 422, "log_facts.0")


async def test_a_group_that_a_rule_asks_about_cannot_be_deleted(api: Instance) -> None:
    await api.ok("PUT", "/v1/groups/spare", json={"name": "Spare", "goal": "grow"})
    await api.ok("PUT", "/v1/segments/spared", json={"when": "history.shown('group:spare')"})
    assert (await api.call("DELETE", "/v1/groups/spare")).status_code in (409, 422)
    await api.ok("DELETE", "/v1/segments/spared")
    await api.ok("DELETE", "/v1/groups/spare")


async def test_a_long_window_is_warned_of(api: Instance) -> None:
    saved = await api.ok("PUT", "/v1/segments/loyal", json={"when": "history.accepted('*')"})
    (warning,) = saved["warnings"]
    assert "looks back 366 days" in warning["message"]
    await api.ok("DELETE", "/v1/segments/loyal")


async def test_a_preview_and_a_simulation_look_at_the_histories(shop: Nextbest) -> None:
    api = shop.api
    for name in ("sim-1", "sim-2", "sim-3"):
        await api.ok("PUT", f"/v1/customers/{name}", json={})
    await decide(api, "sim-1")
    body = {"expression": "customer.customer_id.startsWith('sim-') && history.shown('*', '1h')"}
    found = await api.ok("POST", "/v1/rules/preview", json=body)
    assert (found["matching"], found["examples"]) == (1, ["sim-1"])
    change = {"name": "gold", "group": "cards", "value": 40} | rule("!history.shown('*', '1h')")
    changes = [{"kind": "offer", "id": "gold", "body": change}]
    found = await api.ok("POST", "/v1/simulations", json={"placement": "home", "changes": changes})
    gold = next(one for one in found["offers"] if one["offer_id"] == "gold")
    assert gold["difference"] == -1
    await api.ok("PUT", "/v1/placements/bare", json={"channel": "web", "when": "history.shown('*', '1h')"})
    empty = await api.ok("POST", "/v1/reports/without-offer", json={"placement": "bare"}, role="ops")
    assert {rule["stage"] for rule in empty["rules"]} == {"placement"}
    assert empty["without_offer"] == empty["customers"] - 1


async def test_facts_of_the_history_are_logged_and_learned_from(shop: Nextbest) -> None:
    api, asked = shop.api, "history.count_shown('group:cards', '60d')"
    wrong = {"name": "tired", "algorithm": "logistic_thompson"}
    features = [{"name": "shown", "kind": "numeric", "path": "history.count_shwn('*')"}]
    refused = await api.call("POST", "/v1/policies", json=wrong | {"features": features}, role="scientist")
    assert "did you mean history.count_shown?" in problem_of(refused, 422, "features[0].path")["detail"]
    features[0]["path"] = asked
    made = await api.ok("POST", "/v1/policies", json=wrong | {"features": features}, role="scientist")
    assert any("contacts are kept for 30 days" in warning for warning in made["warnings"])
    logged = {"channel": "web", "slots": 2, "control_share": 0, "log_facts": [asked], "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/logging", json=logged)
    await decide(api, "learner", "logging")
    second = await decide(api, "learner", "logging")
    await shop.worker.drain()
    facts = text("SELECT header -> 'facts' ->> :path FROM decisions WHERE decision_id = :id")
    async with api.state.engine.connect() as connection:
        found = await connection.scalar(facts, {"path": asked, "id": second["decision_id"]})
    assert found == "2"


async def declare(api: Instance) -> None:
    """Outcomes of the shop's own."""
    for name in ("quoted", "complaint"):
        await api.ok("PUT", f"/v1/outcomes/{name}", json={"name": name})


async def history_in_redis(shop: Nextbest, customer_id: str, *, lose: bool = False) -> list[Any]:
    """The contacts that Redis keeps of a customer, with their times; ``lose``: for the last time."""
    key, state = Keys(BUCKETS).contact(customer_id), shop.api.state
    found = await state.redis.zrange(key, 0, -1, withscores=True)
    if lose:
        await state.redis.delete(key)
    return list(found)


async def rebuild(shop: Nextbest) -> None:
    """Rebuild what Redis holds from the log."""
    state = shop.api.state
    await Rebuilder(
        state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
    ).rebuild()


async def test_the_very_next_decision_knows_a_declared_outcome(shop: Nextbest) -> None:
    api, asked = shop.api, "history.had('quoted', 'gold', '7d')"
    await declare(api)
    await put_offer(api, "call-back", value=30, **rule(f"{asked} && history.last_outcome('*') == 'quoted'"))
    features = [{"name": "quoted", "kind": "category", "path": asked, "values": ["true"]}]
    features.append({"name": "quotes", "kind": "numeric", "path": "history.count_had('quoted', '*', '7d')"})
    policy = {"name": "knows-quotes", "algorithm": "logistic_thompson", "features": features}
    made = await api.ok("POST", "/v1/policies", json=policy, role="scientist")
    assert made["warnings"] == []
    wide = {"channel": "web", "slots": 5, "control_share": 0, "deadline_ms": 10_000}
    await api.ok("PUT", "/v1/placements/quotes", json=wide)
    await shop.worker.drain()
    await shop.worker.warm()
    champion = {"policy": made["policy"], "stage": "champion", "force": True}
    await api.ok("POST", "/v1/placements/quotes/policies", json=champion, role="scientist")
    first = await decide(api, "quoter", "quotes", explain=True)
    assert stop_of(first["explanation"], "call-back")["observed"][asked] is False
    assert await tell(api, first["decision_id"], "gold", "quoted") == "recorded"
    assert await tell(api, first["decision_id"], "gold", "quoted") == "duplicate"
    second = await decide(api, "quoter", "quotes")
    assert "call-back" in ids(second)
    assert second["policy"]["name"] == "knows-quotes"
    await tell(api, second["decision_id"], "gold", "complaint")
    third = await decide(api, "quoter", "quotes", explain=True)
    stop = stop_of(third["explanation"], "call-back")
    assert stop["observed"] == {asked: True, "history.last_outcome('*')": "complaint"}
    await shop.worker.drain()
    # Explained and replayed from the log alone.
    await history_in_redis(shop, "quoter", lose=True)
    later = await api.ok("GET", f"/v1/decisions/{third['decision_id']}/explanation")
    assert stop_of(later["candidates"], "call-back") == stop
    again = await api.ok("GET", f"/v1/decisions/{second['decision_id']}/replay", role="scientist")
    assert again["identical"] is True
    facts = text("SELECT header -> 'facts' ->> :path FROM decisions WHERE decision_id = :id")
    async with api.state.engine.connect() as connection:
        for made, number in ((first, "0"), (second, "1")):
            values = {"path": "history.count_had('quoted', '*', '7d')", "id": made["decision_id"]}
            assert await connection.scalar(facts, values) == number


async def test_an_outcome_that_nobody_declared_is_refused_and_one_that_a_rule_names_stays(
    shop: Nextbest,
) -> None:
    api = shop.api
    await declare(api)
    body = {"when": "history.had('qouted', 'gold')"}
    found = problem_of(await api.call("PUT", "/v1/segments/quoters", json=body), 422)
    assert "did you mean 'quoted'?" in str(found)
    body = {"expression": "history.had('qouted', 'gold')"}
    found = problem_of(await api.call("POST", "/v1/rules/preview", json=body), 422, "expression")
    assert "did you mean 'quoted'?" in found["detail"]
    refused = await api.call(
        "PUT", "/v1/placements/wrong", json={"channel": "web", "log_facts": ["history.had('qouted', '*')"]}
    )
    assert "there is no outcome 'qouted'" in problem_of(refused, 422, "log_facts.0")["detail"]
    await api.ok("PUT", "/v1/segments/quoters", json={"when": "history.had('quoted', 'gold')"})
    assert (await api.call("DELETE", "/v1/outcomes/quoted")).status_code in (409, 422)
    await api.ok("DELETE", "/v1/segments/quoters")


async def test_declared_outcomes_are_handed_over_and_rebuilt(shop: Nextbest) -> None:
    api, page = shop.api, "visitor:history-of-mine--"
    await declare(api)
    first = await decide(api, page)
    await tell(api, first["decision_id"], "gold", "quoted")
    merged = {"visitor_id": page}
    await api.ok("POST", "/v1/customers/merged/merge", json=merged, role="frontend")
    # Told of the visitor's decision afterwards: it is the customer's.
    await tell(api, first["decision_id"], "gold", "complaint")
    await decide(api, "merged")
    kept = await history_in_redis(shop, "merged")
    assert sum(b":o:quoted:" in name for name, _ in kept) == 1
    assert sum(b":o:complaint:" in name for name, _ in kept) == 1
    body = {
        "expression": "customer.customer_id == 'merged' && history.count_had('quoted', 'group:cards') == 1"
    }
    await api.ok("PUT", "/v1/customers/merged", json={})
    assert (await api.ok("POST", "/v1/rules/preview", json=body))["matching"] == 1
    await shop.worker.drain()
    assert await history_in_redis(shop, "merged", lose=True) == kept
    await history_in_redis(shop, page, lose=True)
    await rebuild(shop)
    assert await history_in_redis(shop, "merged") == kept


async def test_a_late_outcome_is_kept_and_brought_back_though_its_decision_is_too_old(shop: Nextbest) -> None:
    api, state = shop.api, shop.api.state
    await declare(api)
    made = await decide(api, "late")
    await shop.worker.drain()
    await state.redis.delete(state.keys.decision(state.keys.bucket("late"), made["decision_id"]))
    decisions = text("SELECT header ->> 'decided_at_ms' FROM decisions WHERE decision_id = :id")
    closed = text(
        "UPDATE decisions SET header = jsonb_set(header, '{until_ms}', header -> 'decided_at_ms')"
        " WHERE decision_id = :id"
    )
    async with state.engine.begin() as connection:
        decided_ms = int(str(await connection.scalar(decisions, {"id": made["decision_id"]})))
        await connection.execute(closed, {"id": made["decision_id"]})
    assert await tell(api, made["decision_id"], "gold", "quoted") == "late"
    await shop.worker.drain()
    told = [one for one in await history_in_redis(shop, "late", lose=True) if b":o:quoted:" in one[0]]
    assert len(told) == 1
    assert told[0][1] > decided_ms
    # So long afterwards that the decision itself is outside of the longest window, and its outcome is not.
    now_ms = decided_ms + 400 * DAY_MS
    await DecisionRestorer(state.engine, state.redis, state.keys).restore(now_ms, now_ms - decided_ms)
    assert await history_in_redis(shop, "late") == told


async def test_a_decision_that_is_taken_back_takes_its_outcomes_along(shop: Nextbest) -> None:
    api = shop.api
    await declare(api)
    made = await decide(api, "taken-back")
    await tell(api, made["decision_id"], "gold", "accepted")
    other = await decide(api, "taken-back")
    await tell(api, other["decision_id"], "gold", "quoted")
    assert any(b":o:quoted:" in name for name, _ in await history_in_redis(shop, "taken-back"))
    key = Keys(BUCKETS).decision(Keys(BUCKETS).bucket("taken-back"), other["decision_id"])
    decided_ms = int(await api.state.redis.hget(key, "d") or 0)
    await api.state.redis.hdel(key, "g:gold")  # as where nothing was earned
    now_ms = clock.now_ms()
    await api.state.decision_log.withdraw("taken-back", other["decision_id"], decided_ms, now_ms)
    kept = await history_in_redis(shop, "taken-back")
    assert not any(b":o:" in name for name, _ in kept)
    assert any(b":a:" in name for name, _ in kept)


async def test_rules_fail_closed_while_redis_has_lost_contacts(shop: Nextbest) -> None:
    api, keys = shop.api, Keys(BUCKETS)
    for name in ("gold", "silver", "remind"):
        await put_offer(api, name, value=30, **rule("!history.rejected('*', '5d')"))
    assert shop.settings.redis_url is not None
    redis = make_redis(shop.settings.redis_url)
    try:
        assert ids(await decide(api, "lost-1")) != []
        await redis.delete(*(keys.whole(bucket) for bucket in range(BUCKETS)))
        found = await decide(api, "lost-2")
        assert not {"gold", "remind"} & set(ids(found))
        assert "contact_history_unavailable" in found["degraded"]
        await mark_whole(redis, keys)
        assert (await decide(api, "lost-3"))["degraded"] == []
    finally:
        await redis.aclose()
