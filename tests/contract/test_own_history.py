"""Rules over the customer's own history, over HTTP: saved, decided by, explained, tried out, and logged as facts."""

from typing import Any

import pytest
from sqlalchemy import text

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
