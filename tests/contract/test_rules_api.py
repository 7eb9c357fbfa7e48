"""Rules over HTTP, before they go live: previews and simulations."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from app.api.rules.schemas import PreviewAnswer, SimulationAnswer
from tests.support.api import (
    CSV,
    Instance,
    Nextbest,
    decide,
    problem_of,
    traces,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS = 60
FIELDS = {"name": "gold", "group": "cards", "value": 40}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def _crowd(shop: Nextbest) -> AsyncIterator[None]:
    """Sixty customers aged 1 to 60, every other one in the north; the age of every tenth is unknown."""
    await shop.api.ok("PUT", "/v1/attributes/customer.age", json={"type": "number"})
    region = {"type": "string", "values": ["north", "south"]}
    await shop.api.ok("PUT", "/v1/attributes/customer.region", json=region)
    await shop.api.ok("PUT", "/v1/attributes/context.reason", json={"type": "string"})
    rows = [
        f"c{n:02d},{'' if n % 10 == 0 else n},{'north' if n % 2 else 'south'}"
        for n in range(1, CUSTOMERS + 1)
    ]
    body = "\n".join(["customer_id,age,region", *rows]) + "\n"
    loaded = await shop.api.ok("POST", "/v1/imports/customers", content=body, headers=CSV)
    assert loaded["loaded"] == CUSTOMERS
    scores = [f"c{n:02d},{offer},0.2" for n in range(1, CUSTOMERS + 1) for offer in ("gold", "silver")]
    body = "\n".join(["customer_id,offer_id,propensity", *scores]) + "\n"
    await shop.api.ok("POST", "/v1/imports/propensities", content=body, headers=CSV)
    yield


async def preview(api: Instance, expression: str, **fields: Any) -> Any:
    """Preview a condition; the answer has the declared form."""
    body = {"expression": expression} | fields
    found = await api.ok("POST", "/v1/rules/preview", json=body)
    PreviewAnswer.model_validate(found, strict=True, extra="forbid")
    return found


async def simulate(api: Instance, changes: list[dict[str, Any]], **fields: Any) -> Any:
    """Simulate changes; the answer has the declared form."""
    body = {"placement": "home", "changes": changes} | fields
    found = await api.ok("POST", "/v1/simulations", json=body)
    SimulationAnswer.model_validate(found, strict=True, extra="forbid")
    return found


def offer_change(offer_id: str, value: float, **fields: Any) -> dict[str, Any]:
    """A change that puts an offer of the shop."""
    return {
        "kind": "offer",
        "id": offer_id,
        "body": {"name": offer_id, "group": "cards", "value": value} | fields,
    }


def rule(when: str, name: str = "the rule", tier: str = "eligibility") -> dict[str, str]:
    """A condition of an offer."""
    return {"name": name, "tier": tier, "when": when}


def ids(answer: Any) -> list[str]:
    """The offers of a decision, by rank."""
    return [offer["offer_id"] for offer in answer["offers"]]


async def test_a_preview_counts_those_who_match(api: Instance) -> None:
    found = await preview(api, "customer.age > 30.0 && customer.region == 'north'")
    matching = [f"c{n:02d}" for n in range(31, CUSTOMERS + 1, 2)]
    assert found["matching"] == len(matching)
    assert sorted(found["examples"]) == matching
    assert (found["sample"], found["customers"], found["exact"]) == (CUSTOMERS, CUSTOMERS, True)
    assert found["share"] == len(matching) / CUSTOMERS
    assert found["estimate"] == dict.fromkeys(("matching", "low", "high"), len(matching))


async def test_a_preview_counts_what_is_missing(api: Instance) -> None:
    found = await preview(api, "customer.age > 0.0")
    assert found["matching"] == CUSTOMERS - CUSTOMERS // 10
    assert found["missing"] == {"age": CUSTOMERS // 10}
    assert len(found["examples"]) == 20


async def test_a_preview_of_a_sample_is_an_estimate(api: Instance) -> None:
    found = await preview(api, "customer.known", sample=20)
    assert found["exact"] is False
    assert 0 < found["sample"] <= 20 < found["customers"] == CUSTOMERS
    estimate = found["estimate"]
    assert estimate["low"] < estimate["matching"] == estimate["high"] == CUSTOMERS
    assert found == await preview(api, "customer.known", sample=20)


async def test_a_preview_takes_a_context(api: Instance) -> None:
    expression = "context.reason == 'cancel' && customer.age < 5.0"
    assert (await preview(api, expression, context={"reason": "cancel"}))["matching"] == 4
    without = await preview(api, expression)
    assert without["matching"] == 0
    assert without["missing"]["reason"] >= 4  # nobody asks for it where the age decides


@pytest.mark.parametrize(
    ("expression", "line", "column", "suggestion"),
    [
        ("customer.known &&\n  customer.agee > 3.0", 2, 3, "customer.age"),
        ("customer.region == 'nort'", 1, 20, "'north'"),
        ("customer.age > 3", 1, 14, "3.0"),
        ("customer.known &&", 1, 18, None),
        ("customer.age", 1, 1, None),
        ("segment.nobody", 1, 1, None),
        ("", 1, 1, None),
    ],
)
async def test_a_mistake_has_its_position(
    api: Instance, expression: str, line: int, column: int, suggestion: str | None
) -> None:
    answer = await api.call("POST", "/v1/rules/preview", json={"expression": expression})
    error = problem_of(answer, 422, "expression")["errors"][0]
    assert (error["line"], error["column"]) == (line, column)
    if suggestion is None:
        assert error["suggestion"] is None
    else:
        assert suggestion in error["suggestion"]


async def test_a_preview_is_not_about_offers(api: Instance) -> None:
    answer = await api.call("POST", "/v1/rules/preview", json={"expression": "offer.offer_id == 'gold'"})
    problem_of(answer, 422, "expression")


@pytest.mark.parametrize(
    "body", [{}, {"expression": 3}, {"expression": "true", "sample": 0}, {"expresion": "true"}]
)
async def test_previews_that_are_not_valid(api: Instance, body: dict[str, Any]) -> None:
    problem_of(await api.call("POST", "/v1/rules/preview", json=body), 422)


async def test_a_simulation_shows_what_a_rule_would_change(api: Instance) -> None:
    changes = [
        offer_change("gold", 40, rules=[rule("customer.age > 30.0")]),
        offer_change("silver", 10, rules=[rule("customer.age > 50.0", tier="suitability")]),
    ]
    found = await simulate(api, changes)
    older, oldest = 27, 9
    assert (found["placement"], found["customers"]) == ("home", CUSTOMERS)
    assert found["live"]["funnel"] == {
        "live": 3 * CUSTOMERS,
        "holdout": 3 * CUSTOMERS,
        "placement": 3 * CUSTOMERS,
        "eligibility": 3 * CUSTOMERS,
        "applicability": 3 * CUSTOMERS,
        "suitability": 3 * CUSTOMERS,
        "consent": 2 * CUSTOMERS,
        "contact": 2 * CUSTOMERS,
        "propensity": 2 * CUSTOMERS,
        "chosen": 2 * CUSTOMERS,
    }
    funnel = found["changed"]["funnel"]
    assert funnel["eligibility"] == 2 * CUSTOMERS + older
    assert funnel["suitability"] == CUSTOMERS + older + oldest
    assert funnel["consent"] == funnel["chosen"] == older + oldest
    assert found["offers"] == [
        {"offer_id": "gold", "live": 60, "changed": older, "difference": older - 60},
        {"offer_id": "silver", "live": 60, "changed": oldest, "difference": oldest - 60},
    ]
    assert found["live"]["without_offer"] == 0
    assert found["changed"]["without_offer"] == CUSTOMERS - older
    assert found["changed"]["without_offer_share"] == (CUSTOMERS - older) / CUSTOMERS
    assert len(found["changed"]["without_offer_examples"]) == 20
    assert found["customers_with_another_answer"] == CUSTOMERS - oldest
    assert found["changed"]["expected_value"] < found["live"]["expected_value"]


async def test_a_simulation_knows_offers_that_are_new(api: Instance) -> None:
    treatment = {"channel": "web", "language": "en", "title": "New", "message": ""}
    changes = [offer_change("new", 900), {"kind": "treatment", "id": "new/banner", "body": treatment}]
    found = await simulate(api, changes, sample=30)
    (new,) = (offer for offer in found["offers"] if offer["offer_id"] == "new")
    assert new["live"] == 0
    assert new["changed"] > 0
    assert "new" not in [o["offer_id"] for o in await api.ok("GET", "/v1/offers")]


async def test_a_simulation_takes_a_context_and_a_sample(api: Instance) -> None:
    changes = [offer_change("gold", 40, rules=[rule("context.reason == 'cancel'", tier="applicability")])]
    silent = await simulate(api, changes, sample=10)
    asked = await simulate(api, changes, sample=10, context={"reason": "cancel"})
    assert 0 < silent["customers"] == asked["customers"] <= 10
    gold = {offer["offer_id"]: offer["changed"] for offer in silent["offers"]}["gold"]
    assert gold == 0
    assert asked["customers_with_another_answer"] == 0


async def test_a_simulated_contact_policy_reads_what_happened(api: Instance) -> None:
    await decide(api, "c01")
    policy = {"name": "once", "max": 1, "window_s": 3600, "scope": "all"}
    found = await simulate(api, [{"kind": "contact_policy", "id": "once", "body": policy}])
    assert found["changed"]["without_offer_examples"] == ["c01"]


async def test_a_simulation_needs_a_placement_only_where_there_are_several(api: Instance) -> None:
    changes = [{"kind": "goal", "id": "grow", "body": {"lever": 50}}]
    body = problem_of(await api.call("POST", "/v1/simulations", json={"changes": changes}), 422)
    assert body["errors"] == [{"field": "placement", "reason": "say which one: there are desk, home"}]
    body = problem_of(
        await api.call(
            "POST",
            "/v1/catalog/simulate",
            content="nextbest: 1\ngoals: {grow: {lever: 50}}\n",
            headers={"Content-Type": "application/yaml"},
        ),
        422,
    )
    assert body["errors"][0]["reason"] == "say which one: there are desk, home"
    alone = [*changes, {"kind": "placement", "id": "desk", "body": None}]
    found = await api.ok("POST", "/v1/simulations", json={"changes": alone, "sample": 5})
    assert found["placement"] == "home"
    none = [*alone, {"kind": "placement", "id": "home", "body": None}]
    body = problem_of(await api.call("POST", "/v1/simulations", json={"changes": none}), 422)
    assert body["errors"][0]["field"] == "placement"


async def test_nothing_changed_changes_nothing(api: Instance) -> None:
    found = await simulate(api, [{"kind": "goal", "id": "grow", "body": {"lever": 0}}])
    assert found["live"] == found["changed"]
    assert found["customers_with_another_answer"] == 0


async def test_previews_and_simulations_leave_no_trace(shop: Nextbest) -> None:
    await shop.worker.drain()
    before = await traces(shop)
    await preview(shop.api, "customer.age > 30.0")
    await simulate(shop.api, [offer_change("gold", 1, rules=[rule("customer.age > 30.0")])])
    assert await traces(shop) == before


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"changes": [{"kind": "nonsense", "id": "x"}]}, 422, None),
        ({"changes": []}, 422, "changes"),
        ({"placement": "nowhere"}, 404, None),
        ({"changes": [{"kind": "placement", "id": "home"}]}, 404, None),
        ({"changes": [{"kind": "offer", "id": "gold", "body": {"name": "gold"}}]}, 422, None),
        ({"changes": [{"kind": "offer", "id": "gold", "body": FIELDS | {"colour": "red"}}]}, 422, None),
        ({"changes": [{"kind": "goal", "id": "world-peace", "body": {"lever": 1}}]}, 422, None),
        ({"changes": [{"kind": "segment", "id": "old", "body": {"when": "segment.old"}}]}, 422, None),
    ],
)
async def test_simulations_that_are_refused(
    api: Instance, body: dict[str, Any], status: int, field: str | None
) -> None:
    whole = {"placement": "home", "changes": [offer_change("gold", 1)]} | body
    problem_of(await api.call("POST", "/v1/simulations", json=whole), status, field)


async def test_a_simulated_rule_with_a_mistake_has_its_position(api: Instance) -> None:
    changes = [offer_change("gold", 40, rules=[rule("customer.known && customer.agee > 3.0")])]
    answer = await api.call("POST", "/v1/simulations", json={"placement": "home", "changes": changes})
    (error,) = problem_of(answer, 422)["errors"]
    assert error["line"] == 1
    assert error["suggestion"] == "write customer.known && customer.age > 3.0"
