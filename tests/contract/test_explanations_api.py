"""Steering over HTTP: rules, weights, levers, overrides; and why and why not, at once and later."""

from typing import Any

import pytest

from app.api.decisions.explanation_schemas import CandidateExplained, ExplanationAnswer
from tests.support.api import CSV, Instance, Nextbest, decide, problem_of, put_offer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def rule(when: str, name: str = "the rule", tier: str = "eligibility") -> dict[str, str]:
    """A condition of an offer."""
    return {"name": name, "tier": tier, "when": when}


def ids(answer: Any) -> list[str]:
    """The offers of a decision, by rank."""
    return [offer["offer_id"] for offer in answer["offers"]]


def by_offer(candidates: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Explained candidates by offer."""
    return {candidate["offer_id"]: candidate for candidate in candidates}


async def customer(api: Instance, customer_id: str, **attributes: Any) -> None:
    """A customer with these attributes."""
    body = {"attributes": attributes, "indicators": {}, "holdings": [], "interests": {}, "consents": {}}
    await api.ok("PUT", f"/v1/customers/{customer_id}", json=body)


async def declare(api: Instance) -> None:
    """The attributes that these tests refer to, and a segment."""
    for path, kind in (
        ("customer.age", "number"),
        ("customer.region", "string"),
        ("context.reason", "string"),
        ("context.basket", "number"),
        ("offer.minimum_age", "int"),
    ):
        await api.ok("PUT", f"/v1/attributes/{path}", json={"type": kind})
    await api.ok("PUT", "/v1/segments/northern", json={"when": "customer.region == 'north'"})


async def later(shop: Nextbest, decision_id: str) -> list[dict[str, Any]]:
    """The explanation of an archived decision; it has the declared form."""
    found = await shop.api.ok("GET", f"/v1/decisions/{decision_id}/explanation")
    ExplanationAnswer.model_validate(found, strict=True)
    assert found["decision_id"] == decision_id
    return list(found["candidates"])


def full(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Candidates with all fields, absent ones as null: the two routes leave out different ones."""
    return [CandidateExplained.model_validate(c).model_dump(mode="json", by_alias=True) for c in candidates]


async def test_rules_stop_offers(api: Instance) -> None:
    await declare(api)
    await put_offer(api, "gold", value=40, rules=[rule("customer.age > 30.0 && segment.northern")])
    await customer(api, "met", age=31, region="north")
    await customer(api, "young", age=29, region="north")
    await customer(api, "southern", age=31, region="south")
    await customer(api, "ageless", region="north")
    assert sorted(ids(await decide(api, "met"))) == ["gold", "silver"]
    for customer_id in ("young", "southern", "ageless", "nobody-knows"):
        assert ids(await decide(api, customer_id)) == ["silver"]


async def test_a_rule_may_look_at_its_offer(api: Instance) -> None:
    await declare(api)
    when = "customer.age >= double(offer.minimum_age)"
    for offer_id, age in (("gold", 30), ("silver", 18)):
        await put_offer(api, offer_id, value=5, rules=[rule(when)], attributes={"minimum_age": age})
    await customer(api, "grown", age=20)
    await customer(api, "old", age=40)
    assert ids(await decide(api, "grown")) == ["silver"]
    assert sorted(ids(await decide(api, "old"))) == ["gold", "silver"]
    answer = await decide(api, "grown", explain=True)
    (stop,) = by_offer(answer["explanation"])["gold"]["stops"]
    assert stop["observed"] == {"customer.age": 20, "offer.minimum_age": 30}


async def test_why_and_why_not(api: Instance) -> None:
    await declare(api)
    rules = [rule("customer.age > 30.0", "old enough"), rule("segment.northern", "lives near", "suitability")]
    await put_offer(api, "gold", value=40, rules=rules)
    await put_offer(api, "silver", value=10)
    answer = await decide(api, "young", explain=True)
    found = by_offer(answer["explanation"])
    assert list(found) == ["silver", "gold", "phone"]
    silver = found["silver"]
    assert (silver["result"], silver["rank"], silver["class"]) == ("chosen", 1, "arbitrated")
    assert silver["factors"] == answer["offers"][0]["factors"]
    assert silver["score"] == answer["offers"][0]["score"]
    (stop,) = found["gold"]["stops"]
    assert stop == {
        "stage": "eligibility",
        "name": "old enough",
        "observed": {"customer.age": 29},
        "required": "customer.age > 30.0",
        "allowed_again_ms": None,
        "inherited_from": None,
    }
    assert found["phone"]["stage"] == "consent"
    southern = by_offer((await decide(api, "southern", explain=True))["explanation"])["gold"]
    assert (southern["stage"], southern["stops"][0]["name"]) == ("suitability", "lives near")
    assert southern["stops"][0]["observed"] == {"segment.northern": False}


async def test_nothing_is_explained_unasked(api: Instance) -> None:
    assert "explanation" not in await decide(api, "young")


async def test_dry_runs_are_explained_too(api: Instance) -> None:
    await declare(api)
    answer = await decide(api, "young", explain=True, dry_run=True)
    assert by_offer(answer["explanation"])["gold"]["stage"] == "eligibility"


async def test_later_it_is_explained_as_it_was(shop: Nextbest) -> None:
    api = shop.api
    weight = {"when": "context.basket > 100.0", "percent": 50, "offer": "silver"}
    await api.ok("PUT", "/v1/context-weights/big", json=weight)
    await put_offer(api, "gold", value=40, value_expression="double(offer.minimum_age) * 2.0",
                    attributes={"minimum_age": 30}, rules=[rule("customer.age > 20.0")])  # fmt: skip
    await put_offer(api, "picky", value=900, min_propensity=0.9)
    await put_offer(api, "once", value=3, contact_limits=[{"max": 1, "window_s": 600}])
    await put_offer(api, "over", value=3, ends_at="2020-01-01T00:00:00Z")
    await put_offer(api, "paused", value=3, status="paused")
    scores = "customer_id,offer_id,propensity\nyoung,picky,0.4\nyoung,gold,0.3\nyoung,once,0.2\n"
    await api.ok("POST", "/v1/imports/propensities", content=scores, headers=CSV)
    for _ in range(2):
        first = await decide(api, "young", limit=100, explain=True, context={"basket": 150})
    at_once = full(first["explanation"])
    assert {c["offer_id"]: c["stage"] for c in at_once if c["result"] == "stopped"}.keys() >= {
        "picky", "phone", "over", "paused",
    }  # fmt: skip
    path = f"/v1/decisions/{first['decision_id']}/explanation"
    problem_of(await api.call("GET", path), 404)
    await shop.worker.drain()
    assert full(await later(shop, first["decision_id"])) == at_once

    await customer(api, "young", age=99, region="south")
    await put_offer(api, "gold", value=1, rules=[rule("customer.age > 100.0")])
    await put_offer(api, "picky", value=900)
    await api.ok("DELETE", "/v1/context-weights/big")
    for _ in range(5):
        answer = await decide(api, "old", limit=1)
        item = {"decision_id": answer["decision_id"], "offer_id": ids(answer)[0], "outcome": "accepted"}
        await api.ok("POST", "/v1/feedback", json=item, role="frontend")
    await shop.worker.drain()
    assert full(await later(shop, first["decision_id"])) == at_once
    await put_offer(api, "picky", value=1, status="ended")


async def test_unknown_decisions_are_not_explained(api: Instance) -> None:
    problem_of(await api.call("GET", "/v1/decisions/nothing/explanation"), 404)


async def test_context_weights_levers_and_values(api: Instance) -> None:
    await declare(api)
    await api.ok("PUT", "/v1/groups/keep", json={"name": "Keep", "goal": "retain", "lever": 10})
    await put_offer(api, "gold", value=40)
    await put_offer(api, "stay", value=8, group="keep", lever=20, value_expression="customer.age * 2.0")
    weight = {"when": "context.reason == 'cancel'", "percent": 100, "goal": "retain"}
    await api.ok("PUT", "/v1/context-weights/cancel", json=weight)
    await api.ok("PUT", "/v1/goals/retain", json={"lever": 25})
    factors = {}
    for customer_id, reason in (("met", "cancel"), ("met", "browse"), ("nobody-knows", "cancel")):
        answer = await decide(
            api, customer_id, limit=100, explain=True, dry_run=True, context={"reason": reason}
        )
        candidates = by_offer(answer["explanation"])
        factors[customer_id, reason] = candidates["stay"]["factors"]
        assert candidates["gold"]["factors"]["C"] == 1.0
        assert candidates["gold"]["factors"]["L"] == 1.0
    assert factors["met", "cancel"]["C"] == 2.0
    assert factors["met", "browse"]["C"] == 1.0
    assert factors["met", "cancel"]["L"] == pytest.approx(1.55)
    assert factors["met", "cancel"]["V"] == 62.0
    assert factors["nobody-knows", "cancel"]["V"] == 8.0
    await put_offer(api, "stay", value=8, group="keep", status="ended")


async def test_what_would_have_made_it_first(api: Instance) -> None:
    await put_offer(api, "gold", value=40)
    await put_offer(api, "silver", value=10)
    answer = await decide(api, "nobody-knows", limit=1, explain=True, dry_run=True)
    found = by_offer(answer["explanation"])
    low, high = sorted((found["gold"], found["silver"]), key=lambda c: float(c["score"]))
    assert "first_if" not in high or high["first_if"] is None
    for name, wanted in low["first_if"].items():
        if wanted is not None:
            changed = low["factors"] | {name: wanted}
            product = changed["P"] * changed["C"] * changed["V"] * changed["L"]
            assert product == pytest.approx(high["score"])


async def test_overrides_and_mandatory_offers_come_first(api: Instance) -> None:
    body = {"reason": "clearance", "offer": "silver"}
    await api.ok("PUT", "/v1/overrides/clearance", json=body | {"starts_at": "2020-01-01T00:00:00Z"})
    for number in range(10):
        answer = await decide(api, f"visitor-{number}", explain=True, dry_run=True)
        assert ids(answer)[0] == "silver"
        assert by_offer(answer["explanation"])["silver"]["class"] == "overridden"
    await put_offer(api, "notice", value=0, mandatory=True)
    answer = await decide(api, "visitor-1", explain=True)
    assert ids(answer) == ["notice", "silver"]
    assert answer["offers"][0]["probability"] == 1.0
    assert by_offer(answer["explanation"])["notice"]["class"] == "mandatory"
    await put_offer(api, "notice", value=0, mandatory=True, requires_consent="marketing")
    answer = await decide(api, "visitor-1", explain=True)
    assert ids(answer)[0] == "silver"
    assert by_offer(answer["explanation"])["notice"]["stage"] == "consent"
    await put_offer(api, "notice", value=0, status="ended")
    over = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-02-01T00:00:00Z"}
    await api.ok("PUT", "/v1/overrides/clearance", json=body | over)
    firsts = {ids(await decide(api, f"visitor-{number}", dry_run=True))[0] for number in range(200)}
    assert "gold" in firsts  # what is over does not hold any more
    await api.ok("DELETE", "/v1/overrides/clearance")


async def test_the_minimum_propensity(api: Instance) -> None:
    await declare(api)
    await put_offer(api, "gold", value=40, min_propensity=0.25)
    scores = "customer_id,offer_id,propensity\nmet,gold,0.5\nsouthern,gold,0.01\n"
    await api.ok("POST", "/v1/imports/propensities", content=scores, headers=CSV)
    assert "gold" in ids(await decide(api, "met", limit=100))
    answer = await decide(api, "southern", explain=True)
    assert "gold" not in ids(answer)
    (stop,) = by_offer(answer["explanation"])["gold"]["stops"]
    assert (stop["stage"], stop["required"]) == ("propensity", 0.25)
    assert 0 < stop["observed"] < 0.25
    await put_offer(api, "gold", value=40)


async def test_a_placement_may_have_a_condition(api: Instance) -> None:
    await declare(api)
    body = {"channel": "web", "when": "context.reason == 'browse'", "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/quiet", json=body)
    assert ids(await decide(api, "met", "quiet", context={"reason": "browse"}))
    answer = await decide(api, "met", "quiet", context={"reason": "cancel"}, explain=True)
    assert ids(answer) == []
    assert {c["stage"] for c in answer["explanation"] if c["offer_id"] in ("gold", "silver")} == {"placement"}


async def test_a_stop_names_the_group_or_the_goal_that_it_is_inherited_from(shop: Nextbest) -> None:
    api = shop.api
    await declare(api)
    grown = [rule("customer.age > 30.0", "grown")]
    await api.ok("PUT", "/v1/groups/guarded", json={"name": "Guarded", "goal": "grow", "rules": grown})
    await api.ok("PUT", "/v1/goals/acquire", json={"rules": grown})
    await api.ok("PUT", "/v1/groups/fresh", json={"name": "Fresh", "goal": "acquire"})
    await put_offer(api, "by-group", group="guarded")
    await put_offer(api, "by-goal", group="fresh")
    await put_offer(api, "by-itself", rules=grown)
    await customer(api, "minor", age=17)
    answer = await decide(api, "minor", explain=True)
    await shop.worker.drain()
    for candidates in (answer["explanation"], await later(shop, answer["decision_id"])):
        found = by_offer(candidates)
        stops = [found[offer_id]["stops"] for offer_id in ("by-group", "by-goal", "by-itself")]
        assert [[(s["name"], s.get("inherited_from")) for s in ones] for ones in stops] == [
            [("grown", "group guarded")],
            [("grown", "goal acquire")],
            [("grown", None)],
        ]
