"""An export of what is held on a person has everything: record, lists, contacts, and the log, archived or not."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.config import Settings
from tests.support.api import CSV, Instance, Nextbest, decide, problem_of, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORD = {
    "attributes": {"city": "Aix", "age": 41},
    "indicators": {"spend": 2.5},
    "holdings": ["card"],
    "interests": {"coffee": 0.8},
    "consents": {"marketing": ["web"]},
    "objections": {"profiling": ["*"]},
}


async def export(api: Instance, customer_id: str, **query: Any) -> Any:
    return await api.ok("GET", f"/v1/customers/{customer_id}/export", params=query, role="ops")


@pytest.mark.parametrize("customer_id", ["eve", 'q"\\é/x'])
async def test_an_export_has_everything_that_is_held(shop: Nextbest, customer_id: str) -> None:
    api = shop.api
    await api.ok("PUT", f"/v1/customers/{customer_id}", json=RECORD)
    propensities = (
        f'customer_id,offer_id,propensity\n"{customer_id.replace(chr(34), chr(34) * 2)}",gold,0.25\n'
    )
    await api.ok("POST", "/v1/imports/propensities", content=propensities.encode(), headers=CSV)
    await api.ok(
        "PUT",
        f"/v1/suppressions/register/{customer_id}",
        json={"reason": "asked", "until": "2020-01-01T00:00:00Z"},
    )
    await api.ok("POST", f"/v1/customers/{customer_id}/notes", json={"text": "called twice"}, role="agent")
    first = await decide(api, customer_id, "home", context={"page": "a page of hers"})
    await tell(api, first["decision_id"], first["offers"][0]["offer_id"], "accepted", value=3.5)
    await decide(api, "somebody else", "home")
    await api.ok("PUT", "/v1/event-types/visit", json={"name": "Visit"})
    visit = {"customer_id": customer_id, "type": "visit", "properties": {"shop": "Aix"}}
    await api.ok("POST", "/v1/events", json=visit | {"event_id": "v1"}, role="frontend")
    await shop.worker.drain()
    second = await decide(api, customer_id, "home")
    await api.ok("POST", "/v1/events", json=visit | {"event_id": "v2"}, role="frontend")
    found = await export(api, customer_id)
    assert found["customer_id"] == customer_id
    record = found["record"]
    assert {name: record[name] for name in ("attributes", "indicators", "holdings", "interests")} == {
        name: RECORD[name] for name in ("attributes", "indicators", "holdings", "interests")
    }
    assert record["consents"] == {"marketing": ["web"], "profiling": ["!*"]}
    assert found["propensities"]["scores"] == {"gold": 0.25}
    assert [(s["list_id"], s["reason"]) for s in found["suppressions"]] == [("register", "asked")]
    assert [note["text"] for note in found["notes"]] == ["called twice"]
    (archived,) = found["decisions"]
    assert archived["decision_id"] == first["decision_id"]
    assert archived["record"]["customer_id"] == customer_id
    assert archived["record"]["context"] == {"page": "a page of hers"}
    assert {"offer_id": "gold", "base_propensity": 0.25} in archived["candidates"]
    assert [o["value"] for o in archived["outcomes"] if o["outcome"] == "accepted"] == [3.5]
    waiting = [entry for entry in found["not_archived"] if entry["t"] == "decided"]
    assert [entry["id"] for entry in waiting] == [second["decision_id"]]
    assert [entry["pr"] for entry in found["not_archived"] if entry["t"] == "event"] == [{"shop": "Aix"}]
    assert [(one["event_id"], one["properties"]) for one in found["events"]] == [("v1", {"shop": "Aix"})]
    assert waiting[0]["h"]["customer_id"] == customer_id
    assert {contact["kind"] for contact in found["contacts"]} >= {"d", "a"}


async def test_pages_have_older_decisions_alone(shop: Nextbest) -> None:
    made = [(await decide(shop.api, "pat", "home"))["decision_id"] for _ in range(3)]
    await shop.worker.drain()
    page = await export(shop.api, "pat", limit=2)
    assert page["not_archived"] == []
    rest = await export(shop.api, "pat", limit=2, before=page["next"])
    assert (rest["next"], rest["record"], rest["contacts"]) == (None, None, [])
    assert sorted(d["decision_id"] for d in page["decisions"] + rest["decisions"]) == sorted(made)


async def test_of_whom_nothing_is_held_an_export_is_empty(api: Instance) -> None:
    found = await export(api, "nobody at all")
    assert {name for name, value in found.items() if value} == {"customer_id"}
    problem_of(await api.call("GET", "/v1/customers/x/export?before=1"), 422, "before")


async def test_each_export_is_in_the_trail_which_names_nobody(shop: Nextbest) -> None:
    await export(shop.api, "trailed")
    path = "/v1/privacy/actions"
    found = (await shop.api.ok("GET", path, params={"customer_id": " trailed "}, role="ops"))["actions"]
    assert [(one["action"], one["author"]) for one in found] == [("exported", "test ops")]
    everything = await shop.api.ok("GET", path, role="ops")
    assert found[0] in everything["actions"]
    assert "trailed" not in json.dumps(everything)
    assert (await shop.api.ok("GET", path, params={"customer_id": "another"}))["actions"] == []


async def test_the_command_writes_all_pages_into_one_file(
    shop: Nextbest, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.commands.customers.MAX_DECISIONS", 2)
    for name in ("postgres_url", "redis_url", "buckets"):
        monkeypatch.setenv(f"NEXTBEST_{name.upper()}", str(getattr(settings, name)))
    for _ in range(3):
        await decide(shop.api, "commanded", "home")
    await shop.worker.drain()
    out = tmp_path / "person.json"
    words = ["customers", "export", "commanded", "--out", str(out)]
    result = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert result.exit_code == 0, result.output
    assert len(json.loads(out.read_text())["decisions"]) == 3
    assert out.stat().st_mode & 0o077 == 0


async def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """Run a command on this database."""
    for name in ("postgres_url", "redis_url", "buckets"):
        monkeypatch.setenv(f"NEXTBEST_{name.upper()}", str(getattr(settings, name)))
    return await asyncio.to_thread(CliRunner().invoke, app, ["customers", *words])


async def test_a_record_is_put_right_on_the_command_line(
    shop: Nextbest, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = {"attributes": {"age": 41, "city": "Lugo"}, "household_id": "H-1"}
    await shop.api.ok("PUT", "/v1/customers/wrong", json=body)
    file = tmp_path / "right.json"
    file.write_text('{"attributes": {"age": 42, "city": null}}')
    result = await run(settings, monkeypatch, "rectify", "wrong", str(file))
    assert result.exit_code == 0, result.output
    found = await shop.api.ok("GET", "/v1/customers/wrong")
    assert (found["attributes"], found["household_id"]) == ({"age": 42}, "H-1")
    trail = await shop.api.ok("GET", "/v1/privacy/actions", params={"customer_id": "wrong"})
    assert trail["actions"][0]["action"] == "rectified"
    assert trail["actions"][0]["author"].endswith("command line)")
    for content, said in (
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"atributes": {}}', "atributes"),
        ('{"household_id": ""}', "household_id"),
        ('{"propensities": {"gold": 0.5}}', "propensities"),
    ):
        file.write_text(content)
        result = await run(settings, monkeypatch, "rectify", "wrong", str(file))
        assert result.exit_code == 1
        assert said in result.output
    file.write_text("{}")
    result = await run(settings, monkeypatch, "rectify", "nobody-stored", str(file))
    assert result.exit_code == 1
    assert "nobody-stored" in result.output
    assert await shop.api.ok("GET", "/v1/customers/wrong") == found


async def test_a_consent_is_stated_on_the_command_line(
    shop: Nextbest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.api.ok("PUT", "/v1/customers/agreed", json={"attributes": {"age": 41}})
    words = ["consent", "agreed", "--purpose", "marketing", "--channel", "*", "--source", "branch 7"]
    unsaid = await run(settings, monkeypatch, *words)
    assert (unsaid.exit_code, "--given or --withdrawn" in unsaid.output) == (1, True)
    for more in (["--given"], ["--given", "--objection"], ["--withdrawn", "--objection"]):
        result = await run(settings, monkeypatch, *words, *more)
        assert result.exit_code == 0, result.output
    found = await shop.api.ok("GET", "/v1/customers/agreed/consents")
    assert found["consents"] == {"marketing": ["*"]}
    assert found["objections"] == {}
    stated = [(one["kind"], one["given"], one["source"]) for one in found["records"]]
    assert stated == [
        ("objection", False, "branch 7"),
        ("objection", True, "branch 7"),
        ("consent", True, "branch 7"),
    ]
    for wrong, said in ((["--at", "yesterday"], "at"), (["--channel", "pigeon"], "channel")):
        result = await run(settings, monkeypatch, *words, "--given", *wrong)
        assert result.exit_code == 1
        assert said in result.output
    assert len((await shop.api.ok("GET", "/v1/customers/agreed/consents"))["records"]) == 3


async def test_the_trail_says_that_a_visitor_was_merged_once(shop: Nextbest) -> None:
    for _ in range(2):
        body = {"visitor_id": "visitor:trailed-0"}
        await shop.api.ok("POST", "/v1/customers/signed-in/merge", json=body, role="frontend")
    found = await shop.api.ok("GET", "/v1/privacy/actions", params={"customer_id": "signed-in"})
    assert [(one["action"], one["author"], one["details"]) for one in found["actions"]] == [
        ("merged", "test frontend", {"visitors": 1})
    ]
