"""Whom the rules leave without any offer: counted by the rule that stops most, of a sample and of the last day."""

from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import Nextbest, decide, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(shop: Nextbest) -> Nextbest:
    """Ten customers: the offers are for those over 5, by a rule of the group; gold also needs consent."""
    await shop.api.ok("PUT", "/v1/attributes/customer.age", json={"type": "int"})
    grown = {"name": "grown", "tier": "eligibility", "when": "customer.age > 5"}
    await shop.api.ok("PUT", "/v1/groups/cards", json={"name": "Cards", "goal": "grow", "rules": [grown]})
    gold = {"name": "gold", "group": "cards", "requires_consent": "marketing"}
    await shop.api.ok("PUT", "/v1/offers/gold", json=gold)
    strict = {
        "name": "silver",
        "group": "cards",
        "rules": [{"name": "old", "tier": "suitability", "when": "customer.age > 8"}],
    }
    await shop.api.ok("PUT", "/v1/offers/silver", json=strict)
    for age in range(1, CUSTOMERS + 1):
        await shop.api.ok("PUT", f"/v1/customers/c-{age}", json={"attributes": {"age": age}})
    body = {"channel": "web", "slots": 1, "control_share": 0, "deadline_ms": 5000}
    await shop.api.ok("PUT", "/v1/placements/bare", json=body)
    return shop


async def empty(nextbest: Nextbest, **fields: Any) -> Any:
    """The answer to a request."""
    body = {"placement": "bare"} | fields
    return await nextbest.api.ok("POST", "/v1/reports/without-offer", json=body, role="ops")


async def test_a_sample_is_counted_by_the_rule_that_stops_most(filled: Nextbest) -> None:
    found = await empty(filled)
    # 1 to 5 are too young for everything; 6 to 8 too young for silver, without consent for gold and phone.
    assert (found["looked_at"], found["customers"], found["without_offer"]) == (10, 10, 8)
    assert found["share"] == 0.8
    assert found["explained"] == 8
    young, consent, old = found["rules"]
    assert (young["stage"], young["name"], young["inherited_from"]) == ("eligibility", "grown", "group cards")
    assert (young["customers"], young["offers"], young["only"]) == (5, 15, 0)
    assert sorted(young["examples"]) == [f"c-{age}" for age in range(1, 6)]
    assert (consent["stage"], consent["name"], consent["inherited_from"]) == ("consent", "marketing", None)
    assert (consent["customers"], consent["offers"], consent["only"]) == (3, 6, 3)
    assert (old["name"], old["customers"], old["offers"], old["only"]) == ("old", 0, 3, 3)
    assert found["stages"] == {"eligibility": 15, "consent": 6, "suitability": 3}
    assert found["funnel"]["chosen"] == 2


async def test_the_decisions_of_the_last_day_are_explained_as_they_were(filled: Nextbest) -> None:
    for age in (1, 7, 9, 7):
        await decide(filled.api, f"c-{age}", "bare")
    await filled.worker.drain()
    await filled.api.ok("PUT", "/v1/customers/c-1", json={"attributes": {"age": 100}})
    found = await empty(filled, of="last_day")
    assert (found["looked_at"], found["without_offer"], found["explained"]) == (4, 3, 3)
    assert (found["customers"], found["funnel"]) == (None, None)
    assert [(r["name"], r["customers"], r["examples"]) for r in found["rules"]] == [
        ("marketing", 2, ["c-7"]),
        ("grown", 1, ["c-1"]),
        ("old", 0, []),
    ]
    found = await empty(filled, of="last_day", sample=1)
    assert (found["without_offer"], found["explained"]) == (3, 1)


async def test_a_placement_without_offers_says_so(filled: Nextbest) -> None:
    await filled.api.ok("PUT", "/v1/placements/mail", json={"channel": "letter", "control_share": 0})
    found = await empty(filled, placement="mail", sample=3)
    (rule,) = found["rules"]
    assert found["without_offer"] == found["looked_at"] == rule["customers"]
    assert (rule["stage"], rule["name"]) == ("channel", "no live offer has a treatment in this channel")


async def test_requests_that_are_not_valid(filled: Nextbest) -> None:
    async def refused(status: int, field: str | None, **fields: Any) -> None:
        body = {"placement": "bare"} | fields
        problem_of(await filled.api.call("POST", "/v1/reports/without-offer", json=body), status, field)

    await refused(404, None, placement="none")
    await refused(404, None, placement="none", of="last_day")
    await refused(422, "of", of="yesterday")
    await refused(422, "sample", sample=0)
