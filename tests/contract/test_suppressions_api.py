"""Suppression lists over HTTP: whoever is on one is left alone at once, in every process."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from app.cli import app
from app.config import Settings
from app.keys import Role
from tests.support.api import Instance, Nextbest, decide, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

LATER = (datetime.now(UTC) + timedelta(days=30)).isoformat()
EARLIER = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instances(shop: Nextbest) -> AsyncIterator[tuple[Instance, Instance]]:
    """Two API instances, and the placement `quiet` with one offer that needs no consent."""
    await shop.api.ok("PUT", "/v1/offers/leaflet", json={"name": "x", "group": "cards"})
    await shop.api.ok("PUT", "/v1/offers/leaflet/treatments/t", json={"channel": "post", "title": "Leaflet"})
    await shop.api.ok("PUT", "/v1/placements/post", json={"channel": "post", "deadline_ms": 5000})
    async with shop.another() as other:
        yield shop.api, other


async def offered(instance: Instance, customer_id: str) -> bool:
    """True if the offer is made."""
    answer = await decide(instance, customer_id, "post")
    assert answer["degraded"] == []
    return bool(answer["offers"])


@pytest.mark.parametrize("customer_id", ["ann", "a/b", "Zoë"])
async def test_a_suppression_is_in_force_at_once_everywhere(
    instances: tuple[Instance, Instance], customer_id: str
) -> None:
    here, there = instances
    for known in (False, True):
        if known:
            await here.ok("PUT", f"/v1/customers/{customer_id}", json={"attributes": {"age": 30}})
        for _ in range(3):
            assert await offered(here, customer_id)
            assert await offered(there, customer_id)
            body = {"reason": "do-not-contact register", "until": LATER}
            path = f"/v1/suppressions/register/{customer_id}"
            answer = await here.ok("PUT", path, json=body, role="ops")
            assert answer == {"list_id": "register", "customer_id": customer_id}
            assert not await offered(there, customer_id)
            assert not await offered(here, customer_id)
            response = await there.call("DELETE", path, role="ops")
            assert response.status_code == 204
            assert not response.content


async def test_a_customer_shows_the_lists(instances: tuple[Instance, Instance]) -> None:
    here, _ = instances
    await here.ok("PUT", "/v1/suppressions/register/bob", json={"reason": "asked for it"})
    await here.ok("PUT", "/v1/suppressions/complaints/bob", json={"reason": "delivery", "until": EARLIER})
    found = await here.ok("GET", "/v1/customers/bob")
    shown: list[dict[str, Any]] = found["suppressions"]
    assert [(s["list_id"], s["reason"]) for s in shown] == [
        ("complaints", "delivery"),
        ("register", "asked for it"),
    ]
    assert datetime.fromisoformat(shown[0]["until"]) <= datetime.fromisoformat(EARLIER)
    assert shown[1]["until"] is None
    assert datetime.fromisoformat(shown[1]["added_at"]) <= datetime.now(UTC)

    assert not await offered(here, "bob")
    await here.call("DELETE", "/v1/suppressions/register/bob")
    assert await offered(here, "bob")  # the other one is over
    await here.ok("PUT", "/v1/suppressions/complaints/bob", json={"reason": "delivery again"})
    assert not await offered(here, "bob")


async def test_a_record_that_changes_leaves_the_lists_alone(instances: tuple[Instance, Instance]) -> None:
    here, _ = instances
    await here.ok("PUT", "/v1/suppressions/register/cem", json={"reason": "asked for it"})
    await here.ok("PUT", "/v1/customers/cem", json={"consents": {"marketing": ["*"]}})
    assert not await offered(here, "cem")
    assert len((await here.ok("GET", "/v1/customers/cem"))["suppressions"]) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "reason"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"reason": "a\x00b"}, "reason"),
        ({"reason": "x", "until": "tomorrow"}, "until"),
        ({"reason": "x", "until": "2030-01-01T00:00:00"}, "until"),
        ({"reason": "x", "untill": None}, "untill"),
    ],
)
async def test_bad_bodies_are_refused(
    instances: tuple[Instance, Instance], body: dict[str, Any], field: str
) -> None:
    problem_of(await instances[0].call("PUT", "/v1/suppressions/register/dee", json=body), 422, field)


async def test_what_is_not_there_and_who_may_not(instances: tuple[Instance, Instance]) -> None:
    here, _ = instances
    problem_of(await here.call("DELETE", "/v1/suppressions/register/nobody"), 404)
    problem_of(await here.call("PUT", "/v1/suppressions/a b/nobody", json={"reason": "x"}), 422)
    roles: tuple[Role, ...] = ("frontend", "scientist")
    for role in roles:
        path = "/v1/suppressions/register/eve"
        problem_of(await here.call("PUT", path, json={"reason": "x"}, role=role), 403)
        problem_of(await here.call("DELETE", path, role=role), 403)


async def test_an_entry_with_a_scope_keeps_that_alone_from_the_customer(
    instances: tuple[Instance, Instance],
) -> None:
    here, there = instances
    await here.ok("PUT", "/v1/reasons/in-peace", json={"name": "Leave in peace"})
    path = "/v1/suppressions/sales/flo"
    assert await offered(there, "flo")
    await here.ok("PUT", path, json={"reason_id": "in-peace", "scope": {"except_goals": ["grow"]}})
    assert await offered(there, "flo")
    await here.ok("PUT", path, json={"reason_id": "in-peace", "scope": {"groups": ["cards"]}, "until": LATER})
    assert not await offered(there, "flo")
    assert not await offered(here, "flo")
    shown = {"list_id": "sales", "reason": "Leave in peace", "scope": {"groups": ["cards"]}}
    for entries in (
        (await here.ok("GET", "/v1/customers/flo"))["suppressions"],
        (await here.ok("GET", "/v1/customers/flo/suppressions"))["suppressions"],
        (await here.ok("GET", "/v1/suppressions/sales"))["entries"],
    ):
        (entry,) = entries
        assert shown.items() <= entry.items()
    assert entries[0]["reason_id"] == "in-peace"
    explained = await decide(here, "flo", "post", explain=True)
    stops = next(c["stops"] for c in explained["explanation"] if c["offer_id"] == "leaflet")
    assert ("suppression", "sales", "Leave in peace") in [
        (s["stage"], s["name"], s["observed"]) for s in stops
    ]
    file = 'customer_id,list_id,reason,scope\nflo,sales,again,"{""goals"": [""serve""]}"\n'
    headers = {"Content-Type": "text/csv"}
    await here.ok("POST", "/v1/imports/suppressions", content=file, headers=headers)
    assert await offered(there, "flo")


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"reason_id": "in-peac"}, "reason_id", "did you mean 'in-peace'?"),
        ({"reason": "x", "scope": {"groups": ["card"]}}, "scope.groups", "card"),
        ({"reason": "x", "scope": {"channels": ["lettr"]}}, "scope.channels", "lettr"),
        ({"reason": "x", "scope": {"planets": []}}, "scope.planets", ""),
    ],
)
async def test_a_scope_and_a_reason_that_are_not_there_are_refused(
    instances: tuple[Instance, Instance], body: dict[str, Any], field: str, said: str
) -> None:
    here, _ = instances
    await here.ok("PUT", "/v1/reasons/in-peace", json={"name": "Leave in peace"})
    found = problem_of(await here.call("PUT", "/v1/suppressions/sales/gus", json=body), 422, field)
    assert said in found["detail"]
    assert (await here.ok("GET", "/v1/customers/gus/suppressions"))["suppressions"] == []


async def test_a_file_that_names_what_is_not_there_is_refused_by_row_and_replaces_nothing(
    instances: tuple[Instance, Instance],
) -> None:
    here, _ = instances
    await here.ok("PUT", "/v1/suppressions/sales/hal", json={"reason": "asked"})
    scopes = ({"groups": ["crads"]}, {"offers": ["leafelt"]}, {"channels": ["lettr"]})
    lines = [f"hal,sales,r,{json.dumps(json.dumps(scope)).replace(chr(92), chr(34))}" for scope in scopes]
    file = "\n".join(["customer_id,list_id,reason,scope", *lines])
    headers = {"Content-Type": "text/csv"}
    report = await here.ok("POST", "/v1/imports/suppressions", content=file, headers=headers)
    assert [(one["row"], one["field"], one["reason"].split(";")[0]) for one in report["refusals"]] == [
        (1, "scope", "scope.groups: there is no group 'crads'"),
        (2, "scope", "scope.offers: there is no offer 'leafelt'"),
        (3, "scope", "scope.channels: there is no channel 'lettr'"),
    ]
    (entry,) = (await here.ok("GET", "/v1/customers/hal/suppressions"))["suppressions"]
    assert (entry["reason"], entry["scope"]) == ("asked", None)


async def trail_of(api: Instance, customer_id: str) -> list[tuple[str, str, str, dict[str, Any]]]:
    """What the trail has of a customer, the oldest first: action, author, reason, details."""
    found = await api.ok("GET", "/v1/privacy/actions", params={"customer_id": customer_id}, role="ops")
    return [
        (one["action"], one["author"], one["reason"], one["details"]) for one in reversed(found["actions"])
    ]


async def test_each_change_of_an_entry_is_in_the_trail_without_its_words(
    instances: tuple[Instance, Instance],
) -> None:
    here, _ = instances
    path = "/v1/suppressions/sales/ivy-of-the-trail"
    for body in ({"reason": "she said so"}, {"reason": "she said so"}, {"reason": "other", "until": LATER}):
        await here.ok("PUT", path, json=body, role="ops")
    problem_of(await here.call("DELETE", path, params={"reason": "x" * 201}, role="ops"), 422, "reason")
    await here.call("DELETE", path, params={"reason": "request 4711"}, role="ops")
    problem_of(await here.call("DELETE", path, role="ops"), 404)
    first = {"list": "sales", "new": True, "ends": False, "all": True}
    assert await trail_of(here, "ivy-of-the-trail") == [
        ("suppressed", "test ops", "", first),
        ("suppressed", "test ops", "", first | {"new": False, "ends": True}),
        ("unsuppressed", "test ops", "request 4711", {"list": "sales"}),
    ]
    everything = json.dumps(await here.ok("GET", "/v1/privacy/actions", role="ops"))
    assert "she said so" not in everything
    assert "ivy-of-the-trail" not in everything


async def test_an_entry_of_a_visitor_is_in_the_trail_of_the_customer(
    instances: tuple[Instance, Instance],
) -> None:
    here, _ = instances
    visitor = "visitor:suppressed-0123456789"
    await here.ok("POST", "/v1/customers/jan/merge", json={"visitor_id": visitor})
    await here.ok("PUT", f"/v1/suppressions/sales/{visitor}", json={"reason": "asked"})
    await here.call("DELETE", f"/v1/suppressions/sales/{visitor}")
    assert [one[0] for one in await trail_of(here, "jan")] == ["merged", "suppressed", "unsuppressed"]


async def test_an_import_of_entries_is_in_the_trail_with_its_author(
    instances: tuple[Instance, Instance],
) -> None:
    here, _ = instances
    file = "customer_id,list_id,reason\nkim,sales,asked\nkim,no list!,asked\n"
    headers = {"Content-Type": "text/csv"}
    await here.ok("POST", "/v1/imports/suppressions", content=file, headers=headers, role="ops")
    newest, *_ = (await here.ok("GET", "/v1/privacy/actions", role="ops"))["actions"]
    assert (newest["action"], newest["author"]) == ("imported", "test ops")
    assert newest["details"] == {"kind": "suppressions", "rows": 2, "loaded": 1, "refused": 1}


async def test_commands_put_customers_on_lists_and_take_them_off(
    instances: tuple[Instance, Instance], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = instances
    for name in ("postgres_url", "redis_url", "buckets"):
        monkeypatch.setenv(f"NEXTBEST_{name.upper()}", str(getattr(settings, name)))
    await here.ok("PUT", "/v1/reasons/in-peace", json={"name": "Leave in peace"})

    async def run(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["customers", *words])

    assert await offered(here, "lea")
    scope = '{"groups": ["cards"]}'
    result = await run(
        "suppress", "lea", "sales", "--reason-id", "in-peace", "--until", LATER, "--scope", scope
    )
    assert result.exit_code == 0, result.output
    assert not await offered(here, "lea"), "in force at once"
    (entry,) = (await here.ok("GET", "/v1/customers/lea/suppressions"))["suppressions"]
    assert (entry["reason"], entry["reason_id"], entry["scope"]) == (
        "Leave in peace",
        "in-peace",
        {"groups": ["cards"]},
    )
    for wrong, said in (
        ([], "reason"),
        (["--reason-id", "in-peac"], "reason_id"),
        (["--reason", "x", "--until", "tomorrow"], "until"),
        (["--reason", "x", "--scope", "{"], "--scope: is not JSON"),
        (["--reason", "x", "--scope", '{"planets": []}'], "scope.planets"),
        (["--reason", "x", "--scope", '{"groups": ["card"]}'], "scope.groups"),
    ):
        result = await run("suppress", "lea", "sales", *wrong)
        assert (result.exit_code, said in result.output) == (1, True), result.output
    result = await run("suppress", "lea", "a b", "--reason", "x")
    assert (result.exit_code, "list_id" in result.output) == (1, True)
    result = await run("unsuppress", "lea", "sales", "--reason", "request 4711")
    assert result.exit_code == 0, result.output
    assert await offered(here, "lea")
    result = await run("unsuppress", "lea", "sales")
    assert (result.exit_code, "is not on the list sales" in result.output) == (1, True)
    put, removed = await trail_of(here, "lea")
    assert (put[0], put[3]) == ("suppressed", {"list": "sales", "new": True, "ends": True, "all": False})
    assert (removed[0], removed[2]) == ("unsuppressed", "request 4711")
    assert put[1].endswith("command line)")
    assert removed[1] == put[1]
