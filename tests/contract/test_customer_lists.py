"""A customer's decisions with their outcomes, and entries in suppression lists: page by page."""

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.api import CSV, Instance, Nextbest, decide, problem_of, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def pages(api: Instance, path: str, key: str, cursor: str, limit: int) -> list[list[dict[str, Any]]]:
    """All pages of a list, read with the key of a scientist."""
    found: list[list[dict[str, Any]]] = []
    after: dict[str, str] = {}
    while True:
        params = {"limit": limit} | after
        answer = await api.ok("GET", path, params=params, role="scientist")
        found.append(answer[key])
        if answer["next"] is None:
            return found
        after = {cursor: answer["next"]}


@pytest.mark.parametrize("customer_id", ["ann", "a/b", "Zoë"])
async def test_a_customer_s_decisions_are_listed_the_newest_first(shop: Nextbest, customer_id: str) -> None:
    history = (
        f"customer_id,offer_id,decided_at,outcome,value\n{customer_id},gold,2020-01-01T10:00:00Z,accepted,5\n"
    )
    await shop.api.ok("POST", "/v1/imports/history", content=history.encode(), headers=CSV)
    answers = [await decide(shop.api, customer_id, "home") for _ in range(4)]
    await decide(shop.api, "somebody else", "home")
    first = answers[0]["offers"][0]["offer_id"]
    await tell(shop.api, answers[0]["decision_id"], first, "presented")
    await tell(shop.api, answers[0]["decision_id"], first, "accepted", value=2.5)
    await shop.worker.drain()
    path = f"/v1/customers/{customer_id}/decisions"
    ids = [
        [one["decision_id"] for one in page] for page in await pages(shop.api, path, "decisions", "before", 2)
    ]
    assert [len(page) for page in ids] == [2, 2, 1]
    assert sorted(ids[0] + ids[1]) == sorted(answer["decision_id"] for answer in answers)
    answer = await shop.api.ok("GET", path, role="ops")
    assert answer["next"] is None
    times = [datetime.fromisoformat(one["decided_at"]) for one in answer["decisions"]]
    assert times == sorted(times, reverse=True)
    past = answer["decisions"][-1]
    assert (past["source"], past["control_group"]) == ("history", "imported")
    assert [o["outcome"] for o in past["offers"][0]["outcomes"]] == ["accepted"]
    told = next(one for one in answer["decisions"] if one["decision_id"] == answers[0]["decision_id"])
    assert [offer["offer_id"] for offer in told["offers"]] == [o["offer_id"] for o in answers[0]["offers"]]
    assert (told["offers"][0]["treatment_id"], told["placement"]) == ("banner", "home")
    outcomes = told["offers"][0]["outcomes"]
    assert [(o["outcome"], o["value"], o["late"]) for o in outcomes] == [
        ("presented", None, False),
        ("accepted", 2.5, False),
    ]


async def test_outcomes_of_one_millisecond_are_listed_as_they_were_told(shop: Nextbest) -> None:
    decision = await decide(shop.api, "quick", "home")
    for outcome in ("presented", "clicked", "accepted"):
        await tell(shop.api, decision["decision_id"], decision["offers"][0]["offer_id"], outcome)
    await shop.worker.drain()
    async with shop.api.state.engine.begin() as connection:
        at_once = text("UPDATE outcomes SET recorded_ms = 1767225600000 WHERE decision_id = :id")
        assert (await connection.execute(at_once, {"id": decision["decision_id"]})).rowcount >= 3
    listed = await shop.api.ok("GET", "/v1/customers/quick/decisions")
    read = await shop.api.ok("GET", f"/v1/decisions/{decision['decision_id']}")
    for outcomes in (listed["decisions"][0]["offers"][0]["outcomes"], read["outcomes"]):
        found = [o["outcome"] for o in outcomes if o["outcome"] in ("presented", "clicked", "accepted")]
        assert found == ["presented", "clicked", "accepted"]


async def test_who_has_no_decisions_has_an_empty_list(shop: Nextbest) -> None:
    answer = await shop.api.ok("GET", "/v1/customers/nobody/decisions")
    assert answer == {"decisions": [], "next": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("before=x", "before"),
        ("before=999999999999999999999:x", "before"),
        ("before=1:%00", "before"),
        ("after=x", "after"),
    ],
)
async def test_pages_that_are_not_valid(shop: Nextbest, query: str, field: str) -> None:
    problem_of(await shop.api.call("GET", f"/v1/customers/ann/decisions?{query}"), 422, field)


@pytest.mark.parametrize("path", ["suppressions/register", "customers/ann/suppressions"])
async def test_pages_of_suppressions_that_are_not_valid(shop: Nextbest, path: str) -> None:
    for query, field in (("after=%00", "after"), ("limit=1001", "limit"), ("before=x", "before")):
        problem_of(await shop.api.call("GET", f"/v1/{path}?{query}"), 422, field)


async def test_suppressions_are_imported_and_listed(shop: Nextbest) -> None:
    assert (await decide(shop.api, "s-3"))["offers"]
    await shop.api.ok("PUT", "/v1/suppressions/register/s-1", json={"reason": "earlier"})
    file = """customer_id,list_id,reason,until
s-1,register,asked,2030-01-01T00:00:00Z
s-2,register,asked,
s-3,register,first,
s-3,register,last,
s-3,complaints,open,
s-4,no list!,asked,
s-5,register,,
s-6,register,asked,tomorrow
"""
    answer = await shop.api.ok("POST", "/v1/imports/suppressions", content=file, headers=CSV, role="ops")
    assert (answer["rows"], answer["loaded"], answer["refused"], answer["new"]) == (8, 5, 3, None)
    assert [(r["row"], r["field"]) for r in answer["refusals"]] == [
        (6, "list_id"),
        (7, "reason"),
        (8, "until"),
    ]
    found = await pages(shop.api, "/v1/suppressions/register", "entries", "after", 2)
    assert [[(e["customer_id"], e["reason"], e["until"]) for e in page] for page in found] == [
        [("s-1", "asked", "2030-01-01T00:00:00Z"), ("s-2", "asked", None)],
        [("s-3", "last", None)],
    ]
    lists = await pages(shop.api, "/v1/customers/s-3/suppressions", "suppressions", "after", 1)
    assert [[entry["list_id"] for entry in page] for page in lists] == [["complaints"], ["register"]]
    assert (await decide(shop.api, "s-3"))["nothing_right_now"], "in force at once"
    assert await shop.api.ok("GET", "/v1/suppressions/none") == {"entries": [], "next": None}


async def test_an_ops_key_may_only_make_dry_runs(shop: Nextbest) -> None:
    body = {"customer_id": "dry", "placement": "home"}
    problem = problem_of(await shop.api.call("POST", "/v1/decisions", json=body, role="ops"), 403, "dry_run")
    assert '"dry_run": true' in problem["detail"]
    answer = await shop.api.ok(
        "POST", "/v1/decisions", json=body | {"dry_run": True, "explain": True}, role="ops"
    )
    assert answer["feedback_until"] is None
    assert answer["explanation"]
    await shop.worker.drain()
    assert (await shop.api.ok("GET", "/v1/customers/dry/decisions"))["decisions"] == []
