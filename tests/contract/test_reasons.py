"""Reasons that are told with outcomes: kept, counted, and followed by what is not offered any more."""

from typing import Any

import pytest
import pytest_asyncio

from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from tests.support.api import CSV, Nextbest, decide, problem_of, put_offer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(shop: Nextbest) -> Nextbest:
    """Reasons and outcomes that suppress; a loan beside the cards, a transactional bill, and a desk by phone."""
    api = shop.api
    declared = {
        "reasons/too-expensive": [{"for_s": 2_592_000, "scope": "group"}],
        "reasons/bad-moment": [{"for_s": 86_400, "scope": "channel"}],
        "reasons/just-so": [],
        "outcomes/complaint": [{"for_s": 7_776_000, "scope": "all"}],
    }
    for path, suppress in declared.items():
        await api.ok("PUT", f"/v1/{path}", json={"suppress": suppress})
    await api.ok("PUT", "/v1/groups/loans", json={"name": "Loans", "goal": "acquire"})
    await put_offer(api, "loan", group="loans")
    await put_offer(api, "bill", transactional=True)
    wide = {"channel": "web", "slots": 9, "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/wide", json=wide)
    return shop


async def offered(nextbest: Nextbest, customer: str, **fields: Any) -> tuple[str, set[str], Any]:
    """A decision's id, its offers, and the whole answer."""
    made = await decide(nextbest.api, customer, "wide", **fields)
    return made["decision_id"], {offer["offer_id"] for offer in made["offers"]}, made


async def reject(nextbest: Nextbest, decision_id: str, outcome: str = "rejected", **fields: Any) -> Any:
    """Tell that gold was rejected."""
    body = {"decision_id": decision_id, "offer_id": "gold", "outcome": outcome} | fields
    return await nextbest.api.call("POST", "/v1/feedback", json=body)


async def test_a_reason_that_is_not_declared_is_refused(told: Nextbest) -> None:
    decision_id, _, _ = await offered(told, "typo")
    found = problem_of(await reject(told, decision_id, reason="too-expensiv"), 422, "reason")
    assert "did you mean 'too-expensive'?" in found["detail"]


@pytest.mark.parametrize(
    ("outcome", "reason", "left"),
    [
        ("rejected", None, {"gold", "silver", "loan", "bill"}),
        ("rejected", "just-so", {"gold", "silver", "loan", "bill"}),
        ("rejected", "too-expensive", {"loan", "bill"}),
        ("rejected", "bad-moment", {"bill"}),
        ("complaint", None, {"bill"}),
    ],
)
async def test_what_is_suppressed_is_not_offered_and_stays_so_after_a_rebuild(
    told: Nextbest, outcome: str, reason: str | None, left: set[str]
) -> None:
    customer = f"{outcome}-{reason}"
    decision_id, before, _ = await offered(told, customer)
    assert before == {"gold", "silver", "loan", "bill"}
    assert (await reject(told, decision_id, outcome, reason=reason)).status_code == 200
    assert (await offered(told, customer))[1] == left
    state = told.api.state
    await told.worker.drain()
    await state.redis.delete(state.keys.contact(customer))
    rebuilder = Rebuilder(state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    await rebuilder.rebuild()
    assert (await offered(told, customer))[1] == left


async def test_an_explanation_names_the_reason_and_the_time_it_ends(told: Nextbest) -> None:
    decision_id, _, _ = await offered(told, "why")
    await reject(told, decision_id, reason="too-expensive")
    _, _, made = await offered(told, "why", explain=True)
    (gold,) = [c for c in made["explanation"] if c["offer_id"] == "gold"]
    (stop,) = gold["stops"]
    assert (stop["stage"], stop["name"]) == ("exclusion", "after reason too-expensive")
    assert stop["required"] == {"none_within_s": 2_592_000}


async def test_another_channel_is_free_where_one_is_suppressed(told: Nextbest) -> None:
    api = told.api
    treatment = {"channel": "mail", "language": "en", "title": "gold"}
    await api.ok("PUT", "/v1/offers/gold/treatments/mail", json=treatment)
    await api.ok(
        "PUT", "/v1/placements/mail", json={"channel": "mail", "control_share": 0, "deadline_ms": 5000}
    )
    decision_id, _, _ = await offered(told, "elsewhere")
    await reject(told, decision_id, reason="bad-moment")
    assert (await offered(told, "elsewhere"))[1] == {"bill"}
    assert [o["offer_id"] for o in (await decide(api, "elsewhere", "mail"))["offers"]] == ["gold"]


async def test_defaults_stand_in_as_before_but_not_for_whom_they_are_suppressed(told: Nextbest) -> None:
    bare = {"channel": "web", "when": "context.channel == 'none'", "default_offers": ["silver"]}
    await told.api.ok("PUT", "/v1/placements/bare", json=bare | {"control_share": 0, "deadline_ms": 5000})
    decision_id, _, _ = await offered(told, "standing")
    assert [o["offer_id"] for o in (await decide(told.api, "standing", "bare"))["offers"]] == ["silver"]
    await reject(told, decision_id, "complaint")
    assert (await decide(told.api, "standing", "bare"))["offers"] == []


async def test_nothing_that_may_be_suppressed_is_offered_while_redis_has_lost_contacts(
    told: Nextbest,
) -> None:
    state = told.api.state
    marks = {key: await state.redis.get(key) for key in map(state.keys.whole, range(state.keys.buckets))}
    await state.redis.delete(*marks)
    _, left, made = await offered(told, "lost")
    assert left == {"bill"}
    assert "contact_history_unavailable" in made["degraded"]
    await state.redis.mset({key: mark for key, mark in marks.items() if mark})
    assert len((await offered(told, "lost"))[1]) == 4


async def test_reasons_are_counted(told: Nextbest) -> None:
    decision_id, _, _ = await offered(told, "counted")
    await reject(told, decision_id, reason="just-so")
    await told.worker.drain()
    found = await told.api.ok("GET", "/v1/reports/outcomes")
    rows = {(row["offer_id"], row["outcome"], row["reason"]): row["told"] for row in found["outcomes"]}
    assert rows["gold", "rejected", "just-so"] >= 1


async def test_imports_tell_reasons_too(told: Nextbest) -> None:
    api = told.api
    await api.ok("PUT", "/v1/reasons/moved-away", json={"name": "Has moved away"})
    rows = "customer_id,offer_id,decided_at,outcome,reason_id\nold,gold,2025-03-01T09:00:00Z,rejected,{0}\n"
    for reason, loaded in (("moved-awy", 0), ("moved-away", 1)):
        answer = await api.ok("POST", "/v1/imports/history", content=rows.format(reason), headers=CSV)
        assert answer["loaded"] == loaded
    await told.worker.drain()
    found = await api.ok("GET", "/v1/reports/outcomes?from=2025-01-01T00:00:00Z&to=2025-12-31T00:00:00Z")
    assert [(one["reason"], one["told"]) for one in found["outcomes"]] == [("moved-away", 1)]
    content = "customer_id,list_id,reason_id\nold,letters,moved-away\n"
    assert (await api.ok("POST", "/v1/imports/suppressions", content=content, headers=CSV))["loaded"] == 1
    (entry,) = (await api.ok("GET", "/v1/suppressions/letters"))["entries"]
    assert (entry["reason_id"], entry["reason"]) == ("moved-away", "Has moved away")
