"""Notes on customers: written and deleted by agents, and they go where the customer goes."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.api.customers.notes_schemas import MAX_NOTE_BYTES
from app.config import parse_retention
from app.keys import KeyStore, Role
from app.worker.privacy.retention import RetentionJob
from decisioning.catalog.store import CatalogueStore
from decisioning.privacy.erasure_service import PersonEraser
from decisioning.privacy.store_retention import Retention
from storage.postgres import transaction
from tests.support.api import Instance, Nextbest, problem_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def write(
    api: Instance, customer_id: str, said: str = "called", role: Role = "agent", **more: Any
) -> Any:
    return await api.ok("POST", f"/v1/customers/{customer_id}/notes", json={"text": said} | more, role=role)


async def texts(api: Instance, customer_id: str) -> list[str]:
    found = await api.ok("GET", f"/v1/customers/{customer_id}/notes", role="agent", params={"limit": 100})
    return [note["text"] for note in found["notes"]]


@pytest.mark.parametrize("customer_id", ["ann", "a/b", "Zoë", "x/notes"])
async def test_notes_are_listed_the_newest_first_page_by_page(api: Instance, customer_id: str) -> None:
    for n in range(3):
        await write(api, customer_id, f"note {n}", reason="question", decision_id=f"desk-{n}")
    await write(api, "somebody else")
    path = f"/v1/customers/{customer_id}/notes"
    page = await api.ok("GET", path, role="agent", params={"limit": 2})
    assert [note["text"] for note in page["notes"]] == ["note 2", "note 1"]
    newest = page["notes"][0]
    assert {name: newest[name] for name in ("reason", "decision_id", "author", "mine")} == {
        "reason": "question",
        "decision_id": "desk-2",
        "author": "test agent",
        "mine": True,
    }
    rest = await api.ok("GET", path, role="ops", params={"limit": 2, "before": page["next"]})
    assert ([note["text"] for note in rest["notes"]], rest["next"]) == (["note 0"], None)
    assert not rest["notes"][0]["mine"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": 7}, "text"),
        ({"text": "é" * (MAX_NOTE_BYTES // 2) + "x"}, "text"),
        ({"text": "nul \x00"}, "text"),
        ({"text": "x", "reason": "r" * 201}, "reason"),
        ({"text": "x", "decision_id": "no id"}, "decision_id"),
        ({"text": "x", "author": "somebody else"}, "author"),
    ],
)
async def test_what_is_no_note_is_refused_and_stored_nowhere(
    api: Instance, body: dict[str, Any], field: str
) -> None:
    refused = await api.call("POST", "/v1/customers/refused/notes", json=body, role="agent")
    problem_of(refused, 422, field)
    assert await texts(api, "refused") == []


async def test_a_note_as_long_as_may_be_is_kept_as_it_is(api: Instance) -> None:
    longest = "é" * (MAX_NOTE_BYTES // 2)
    assert (await write(api, "long", longest))["text"] == longest
    assert await texts(api, "long") == [longest]


async def test_agents_delete_their_own_notes_and_ops_any(shop: Nextbest) -> None:
    api = shop.api
    other = {"X-API-Key": await KeyStore(api.state.engine).create("agent", "another agent")}
    await api.state.refresh()
    mine, theirs = [(await write(api, "bob", said))["note_id"] for said in ("mine", "theirs")]
    path = "/v1/customers/bob/notes"
    problem_of(await api.call("DELETE", f"{path}/{mine}", role=None, headers=other), 403)
    problem_of(await api.call("DELETE", f"/v1/customers/eve/notes/{mine}", role="agent"), 404)
    assert await texts(api, "bob") == ["theirs", "mine"]
    assert (await api.call("DELETE", f"{path}/{mine}", role="agent")).status_code == 204
    problem_of(await api.call("DELETE", f"{path}/{mine}", role="agent"), 404)
    assert (await api.call("DELETE", f"{path}/{theirs}", role="ops")).status_code == 204
    assert await texts(api, "bob") == []


async def test_notes_stay_their_authors_when_the_key_is_rotated(shop: Nextbest) -> None:
    api, store, path = shop.api, KeyStore(shop.api.state.engine), "/v1/customers/rotated/notes"
    first = await store.create("agent", "rotating agent")
    await api.state.refresh()
    answer = await api.call("POST", path, json={"text": "mine"}, role=None, headers={"X-API-Key": first})
    headers = {"X-API-Key": await store.rotate("rotating agent", 0)}
    await api.state.refresh()
    (note,) = (await api.call("GET", path, role=None, headers=headers)).json()["notes"]
    assert note["mine"]
    gone = await api.call("DELETE", f"{path}/{answer.json()['note_id']}", role=None, headers=headers)
    assert gone.status_code == 204, gone.text


async def test_notes_on_a_visitor_are_the_customers_once_they_are_one(api: Instance) -> None:
    visitor = "visitor:notes-0123456789abcdef"
    await write(api, "carl", "own")
    first = await write(api, visitor, "as a visitor")
    await api.ok("POST", "/v1/customers/carl/merge", json={"visitor_id": visitor}, role="frontend")
    await write(api, visitor, "later, under the visitor's id")
    found = ["later, under the visitor's id", "as a visitor", "own"]
    assert await texts(api, "carl") == await texts(api, visitor) == found
    problem_of(await api.call("DELETE", f"/v1/customers/eve/notes/{first['note_id']}", role="agent"), 404)
    gone = await api.call("DELETE", f"/v1/customers/{visitor}/notes/{first['note_id']}", role="agent")
    assert gone.status_code == 204
    exported = await api.ok("GET", "/v1/customers/carl/export", role="ops")
    assert [note["text"] for note in exported["notes"]] == [found[0], "own"]


async def test_a_note_that_races_with_a_merge_is_the_customers(api: Instance) -> None:
    for n in range(8):
        visitor, customer = f"visitor:race-0123456789abcde{n}", f"racer-{n}"
        merge = api.ok(
            "POST", f"/v1/customers/{customer}/merge", json={"visitor_id": visitor}, role="frontend"
        )
        await asyncio.gather(merge, *(write(api, visitor, f"{k}") for k in range(3)))
        assert sorted(await texts(api, customer)) == ["0", "1", "2"]


async def test_nothing_is_noted_of_who_was_erased(api: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(seconds: float) -> None:
        pass

    monkeypatch.setattr(PersonEraser.__init__, "__defaults__", (at_once,))
    visitor = "visitor:erased-0123456789abcdef"
    await write(api, visitor, "as a visitor")
    await api.ok("POST", "/v1/customers/dora/merge", json={"visitor_id": visitor}, role="frontend")
    await write(api, "dora", "own")
    erased = await api.ok("POST", "/v1/customers/dora/erase", json={}, role="ops")
    assert erased["customer_notes"] == 2
    assert await texts(api, "dora") == await texts(api, visitor) == []
    refused = await api.call("POST", "/v1/customers/dora/notes", json={"text": "again"}, role="agent")
    problem_of(refused, 409)


async def test_notes_go_when_they_are_older_than_they_may_be(shop: Nextbest) -> None:
    api, engine = shop.api, shop.api.state.engine
    for said in ("old", "young"):
        await write(api, "frank", said)
    async with transaction(engine) as connection:
        age = "UPDATE customer_notes SET written_at = now() - CAST(:age AS interval) WHERE text = 'old'"
        await connection.execute(text(age), {"age": timedelta(days=31)})
    retention = Retention(engine, parse_retention("notes:30"))
    assert await RetentionJob(retention, CatalogueStore(engine)).enforce() == 1
    assert await texts(api, "frank") == ["young"]


async def test_a_session_of_an_agent_writes_notes_in_the_persons_name(api: Instance) -> None:
    answer = await api.call("POST", "/console/session", role=None, json={"key": api.keys["agent"]})
    token = answer.json()["csrf_token"]

    async def post(headers: dict[str, str]) -> int:
        path, body = "/v1/customers/gus/notes", {"text": "x"}
        return (await api.call("POST", path, role=None, json=body, headers=headers)).status_code

    async def known() -> bool:
        return await post({"X-CSRF-Token": token}) == 201

    assert await post({}) == 403
    await eventually(known, "the session to be taken")
    api.http.cookies.clear()
    assert await texts(api, "gus") == ["x"]
