"""The funnel of an offer: in how many of the newest decisions it was in play, stopped by what, shown and accepted."""

from collections import Counter
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from decisioning.reporting.recent.offer_funnel_service import OfferFunnelService
from decisioning.reporting.recent.store_newest import NewestDecisions
from storage import clock
from tests.support.api import Nextbest, decide, problem_of, put_offer, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(shop: Nextbest) -> Nextbest:
    """Gold is for those over 5, by a rule of the group, and for consent; silver for all, phone by consent."""
    api = shop.api
    await api.ok("PUT", "/v1/attributes/customer.age", json={"type": "int"})
    old = {"name": "old", "tier": "suitability", "when": "customer.age > 5"}
    await put_offer(api, "gold", value=40, requires_consent="marketing", rules=[old])
    for customer_id, age, consents in (("young", 3, {}), ("old", 9, {}), ("met", 9, {"marketing": ["web"]})):
        body = {"attributes": {"age": age}, "consents": consents}
        await api.ok("PUT", f"/v1/customers/{customer_id}", json=body)
    one = {"channel": "web", "slots": 1, "control_share": 0, "deadline_ms": 5000, "presentation": "explicit"}
    await api.ok("PUT", "/v1/placements/one", json=one)
    return shop


async def funnel(nextbest: Nextbest, offer_id: str, **parameters: Any) -> Any:
    """The funnel of an offer, after everything is archived."""
    await nextbest.worker.drain()
    path = f"/v1/reports/offers/{offer_id}/funnel"
    return await nextbest.api.ok("GET", path, params=parameters, role="scientist")


def steps(found: Any) -> tuple[int, ...]:
    """Its counts, the wide end first."""
    return tuple(
        found[name] for name in ("sampled", "in_play", "candidates", "shown", "presented", "accepted")
    )


async def test_decisions_are_counted_by_what_stopped_the_offer(filled: Nextbest) -> None:
    api = filled.api
    empty = await funnel(filled, "gold")
    assert (steps(empty), empty["since"], empty["placements"]) == ((0,) * 6, None, ["desk", "home", "one"])
    answers = [await decide(api, name, "one") for name in ("young", "young", "old", "met", "met")]
    assert [[o["offer_id"] for o in answer["offers"]] for answer in answers[:3]] == [["silver"]] * 3
    assert [[o["offer_id"] for o in answer["offers"]] for answer in answers[3:]] == [["gold"]] * 2
    await tell(api, answers[3]["decision_id"], "gold", "accepted")
    found = await funnel(filled, "gold")
    assert steps(found) == (5, 5, 2, 2, 1, 1)
    assert (found["unexplained"], found["more"], found["more_rules"]) == (0, False, 0)
    assert found["stages"] == [
        {"stage": "suitability", "decisions": 2},
        {"stage": "consent", "decisions": 1},
    ]
    rules = [(r["stage"], r["name"], r["decisions"], r["only"]) for r in found["rules"]]
    assert rules == [("suitability", "old", 2, 0), ("consent", "marketing", 1, 1)]
    silver = await funnel(filled, "silver")
    assert steps(silver) == (5, 5, 5, 3, 0, 0)
    assert silver["rules"] == [
        {"stage": "arbitration", "name": "gold", "inherited_from": None, "decisions": 2, "only": 2}
    ]


async def test_it_says_what_the_explanations_of_the_decisions_say(filled: Nextbest) -> None:
    api = filled.api
    made = [await decide(api, name, "home", context={"n": n}) for n in range(3) for name in ("met", "old")]
    await filled.worker.drain()
    for offer_id in ("gold", "silver", "phone"):
        found = await funnel(filled, offer_id, placement="home")
        assert (found["placements"], found["sampled"]) == (["home"], len(made))
        told: Counter[str] = Counter()
        for answer in made:
            path = f"/v1/decisions/{answer['decision_id']}/explanation"
            (one,) = [c for c in (await api.ok("GET", path))["candidates"] if c["offer_id"] == offer_id]
            told["shown" if one["result"] == "chosen" else one.get("stage") or "arbitration"] += 1
        assert (
            Counter({s["stage"]: s["decisions"] for s in found["stages"]}) + Counter(shown=found["shown"])
            == told
        ), offer_id


async def test_it_is_about_the_newest_and_says_that_there_are_more(filled: Nextbest) -> None:
    latest = await decide(filled.api, "young", "one")
    found = await funnel(filled, "gold", placement="one", sample=1)
    assert (found["sampled"], found["more"]) == (1, True)
    assert found["since"] == found["until"]
    record = await filled.api.ok("GET", f"/v1/decisions/{latest['decision_id']}")
    assert record["archived"]
    assert found["stages"] == [{"stage": "suitability", "decisions": 1}]


async def test_an_offer_that_was_not_live_was_not_in_play(filled: Nextbest) -> None:
    await put_offer(filled.api, "late", value=1)
    found = await funnel(filled, "late", placement="one")
    assert found["sampled"] > 0
    assert found["in_play"] == 0
    assert [(r["stage"], r["name"]) for r in found["rules"]] == [("status", "not in the catalogue")]


async def test_who_was_erased_since_is_not_explained(filled: Nextbest) -> None:
    before = await funnel(filled, "phone", placement="one")
    assert before["unexplained"] == 0
    await filled.api.ok("POST", "/v1/customers/old/erase", json={}, role="ops")
    found = await funnel(filled, "phone", placement="one")
    assert (found["sampled"], found["unexplained"]) == (before["sampled"], 1)
    assert found["in_play"] == before["in_play"] - 1
    # Whether it was a candidate is still in the log.
    assert (await funnel(filled, "silver", placement="one"))["unexplained"] == 0


async def test_decisions_that_were_taken_back_are_left_out(filled: Nextbest) -> None:
    before = await funnel(filled, "silver", placement="one")
    answer = await decide(filled.api, "young", "one")
    assert (await funnel(filled, "silver", placement="one"))["sampled"] == before["sampled"] + 1
    record = await filled.api.ok("GET", f"/v1/decisions/{answer['decision_id']}")
    decided_at_ms = record["decided_at_ms"]
    await filled.api.state.decision_log.withdraw(
        "young", answer["decision_id"], decided_at_ms, clock.now_ms()
    )
    found = await funnel(filled, "silver", placement="one")
    assert found["sampled"] == before["sampled"]


async def test_it_answers_about_what_was_looked_at_when_time_is_up(filled: Nextbest) -> None:
    ticks = count(step=10)
    state = filled.api.state
    newest = NewestDecisions(state.engine)
    service = OfferFunnelService(newest, state.catalogues, lambda: next(ticks), max_ms=35)
    found = await service.of_offer(state.current_catalogue(), "silver", "one", 100)
    assert 0 < found["sampled"] < (await funnel(filled, "silver", placement="one"))["sampled"]
    assert found["more"] is True


async def test_requests_that_are_not_valid(filled: Nextbest) -> None:
    async def refused(path: str, status: int, field: str | None = None) -> None:
        problem_of(await filled.api.call("GET", f"/v1/reports/offers/{path}"), status, field)

    await refused("none/funnel", 404)
    await refused("gold/funnel?placement=none", 404)
    await refused("gold/funnel?sample=0", 422, "sample")
    await refused("gold/funnel?sample=1001", 422, "sample")
    await refused("gold/funnel?since=2026-01-01", 422, "since")
