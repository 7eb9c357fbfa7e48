"""Hold-outs: nobody in one is offered what it withholds, answers and records say so, and the log has all who asked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from decisioning.decide.policy_runner import assign_holdouts
from decisioning.evaluation.replay_service import replay
from decisioning.holdouts.holdout import Holdout
from tests.support.api import Nextbest, decide, problem_of, put_offer

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_CONTACT = Holdout("no-contact", 0.3, exempt_groups=("notices",))
NO_GROWTH = Holdout("no-growth", 0.3, goal="grow")
CUSTOMERS = [f"customer-{n}" for n in range(40)]
AT_ONCE = 10
OFFERS = {"gold": "grow", "silver": "grow", "phone": "grow", "loan": "retain", "notice": "serve"}


def holdouts_of(customer: str) -> tuple[str, ...]:
    """The hold-outs that a customer is in."""
    return assign_holdouts(customer, [NO_CONTACT, NO_GROWTH], 0)


def customers_in(*holdouts: str) -> list[str]:
    """The customers who are in just these hold-outs."""
    return [customer for customer in CUSTOMERS if holdouts_of(customer) == holdouts]


def may_have(customer: str) -> set[str]:
    """The offers that are not withheld from a customer."""
    found, held = set(OFFERS), holdouts_of(customer)
    if "no-contact" in held:
        found = {"notice"}
    if "no-growth" in held:
        found = {offer for offer in found if OFFERS[offer] != "grow"}
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def held(shop: Nextbest) -> AsyncIterator[Nextbest]:
    """The shop with two more groups, and a hold-out of everything and one of a goal."""
    api = shop.api
    await api.ok("PUT", "/v1/groups/loans", json={"name": "Loans", "goal": "retain"})
    await api.ok("PUT", "/v1/groups/notices", json={"name": "Notices", "goal": "serve"})
    await put_offer(api, "loan", value=20, group="loans", mandatory=True)
    await put_offer(api, "notice", value=1, group="notices")
    for holdout in (NO_CONTACT, NO_GROWTH):
        body = {
            "share": holdout.share,
            "goal": holdout.goal,
            "exempt_groups": list(holdout.exempt_groups),
        }
        await api.ok("PUT", f"/v1/holdouts/{holdout.holdout_id}", json=body, role="ops")
    yield shop


async def test_nobody_held_out_is_offered_what_is_withheld_in_any_placement(held: Nextbest) -> None:
    asked = [(customer, placement) for customer in CUSTOMERS for placement in ("home", "desk", "home")]
    answers: list[Any] = []
    for start in range(0, len(asked), AT_ONCE):
        answers += await asyncio.gather(*(decide(held.api, *one) for one in asked[start : start + AT_ONCE]))
    offered: set[str] = set()
    for (customer, _), answer in zip(asked, answers, strict=True):
        ids = {offer["offer_id"] for offer in answer["offers"]}
        assert ids <= may_have(customer)
        assert answer["degraded"] == []
        assert answer.get("holdouts") == (list(holdouts_of(customer)) or None)
        if not holdouts_of(customer):
            offered |= ids
    assert offered >= {"gold", "loan"}
    # Both sides are in the log.
    await held.worker.drain()
    for customer in (customers_in("no-contact")[0], customers_in()[0]):
        listed = await held.api.ok("GET", f"/v1/customers/{customer}/decisions")
        assert len(listed["decisions"]) == 3


async def test_a_record_says_who_was_held_out_and_is_replayed_and_explained_when_nobody_is_any_more(
    held: Nextbest,
) -> None:
    state, customer = held.api.state, customers_in("no-growth")[0]
    answer = await decide(held.api, customer, limit=1)
    nothing = await decide(held.api, customers_in("no-contact")[1])
    assert answer["offers"][0]["probability"] == 1.0  # the only one that remained to be drawn in its class
    record = await held.api.ok("GET", f"/v1/decisions/{answer['decision_id']}")
    assert record["holdouts"] == ["no-growth"]
    await held.worker.drain()
    record = await held.api.ok("GET", f"/v1/decisions/{answer['decision_id']}")
    numbers = {o.number: o.offer_id for o in state.current_catalogue().offers.values()}
    assert {numbers[one["number"]] for one in record["candidates"]} == {"loan", "notice"}

    await held.api.ok("DELETE", "/v1/holdouts/no-growth")
    try:
        for one in (answer, nothing):
            made = await replay(one["decision_id"], state.archive, state.catalogues, state.roster)
            assert made.identical
            assert [o.offer_id for o in made.replayed] == [o["offer_id"] for o in one["offers"]]
        found = await held.api.ok("GET", f"/v1/decisions/{answer['decision_id']}/explanation")
        stopped = {c["offer_id"]: c["stops"] for c in found["candidates"] if c["result"] == "stopped"}
        for offer_id in ("gold", "silver"):
            (stop,) = stopped[offer_id]
            assert (stop["stage"], stop["name"]) == ("holdout", "no-growth")
        assert {c["offer_id"] for c in found["candidates"] if c["result"] != "stopped"} == {"loan", "notice"}
    finally:
        await held.api.ok("PUT", "/v1/holdouts/no-growth", json={"share": 0.3, "goal": "grow"})


async def test_the_same_id_gets_the_same_answer_also_if_its_customer_is_held_out_since(
    held: Nextbest,
) -> None:
    customer = customers_in()[0]
    first = await decide(held.api, customer, decision_id="asked-before")
    await held.api.ok("PUT", "/v1/holdouts/sudden", json={"share": 0.5})
    try:
        everybody = Holdout("sudden", 0.5)
        assert first == await decide(held.api, customer, decision_id="asked-before")
        new = next(c for c in customers_in() if assign_holdouts(c, [everybody], 0))
        assert (await decide(held.api, new))["offers"] == []
    finally:
        await held.api.ok("DELETE", "/v1/holdouts/sudden")


@pytest.mark.parametrize(
    ("body", "lost"),
    [
        ({"share": 0.3}, "exempt_groups"),
        ({"share": 0.3, "exempt_groups": ["notices"], "ends_at": None}, "ends_at"),
    ],
)
async def test_what_would_withhold_more_has_to_be_confirmed(
    held: Nextbest, body: dict[str, Any], lost: str
) -> None:
    one = "/v1/holdouts/other"
    right = {"share": 0.01, "exempt_groups": ["notices"], "ends_at": "2099-01-01T00:00:00Z"}
    await held.api.ok("PUT", one, json=right)
    refused = problem_of(await held.api.call("PUT", one, json=body), 409)
    assert lost in refused["detail"]
    await held.api.ok("DELETE", one)
