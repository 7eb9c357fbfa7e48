"""Objections by purpose and channel: they hold under legitimate interest, and no file removes them by silence."""

import io
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from decisioning.evaluation.replay_service import replay
from tests.support.api import CSV, Instance, Nextbest, decide, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARQUET = {"Content-Type": "application/vnd.apache.parquet"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(nextbest: Nextbest) -> AsyncIterator[Nextbest]:
    """Placements in the channels ``web`` and ``email``, each with one offer under legitimate interest."""
    api = nextbest.api
    await api.ok("PUT", "/v1/groups/cards", json={"name": "Cards", "goal": "grow"})
    interest = {
        "name": "x",
        "group": "cards",
        "legal_basis": "legitimate_interest",
        "requires_consent": "ads",
    }
    await api.ok("PUT", "/v1/offers/interest", json=interest)
    for channel in ("web", "email"):
        await api.ok(
            "PUT", f"/v1/offers/interest/treatments/{channel}", json={"channel": channel, "title": "x"}
        )
        await api.ok("PUT", f"/v1/placements/{channel}", json={"channel": channel, "deadline_ms": 5000})
    yield nextbest


def table(**columns: Any) -> bytes:
    """A Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


async def load(api: Instance, content: str | bytes) -> Any:
    """Import customers."""
    headers = CSV if isinstance(content, str) else PARQUET
    return await api.ok("POST", "/v1/imports/customers", content=content, headers=headers)


async def offered(api: Instance, customer_id: str) -> list[str]:
    """The channels in which the offer is made."""
    return [c for c in ("web", "email") if (await decide(api, customer_id, c))["offers"]]


SILENT: dict[str, str | dict[str, Any]] = {
    "an empty cell": "customer_id,consents.ads\n{id},\n",
    "a cell of separators": 'customer_id,consents.ads\n{id},"| |"\n',
    "a missing column": "customer_id,city\n{id},Bern\n",
    "another purpose": "customer_id,consents.other\n{id},web\n",
    "an empty list": {"consents.ads": pa.array([[]], pa.list_(pa.string()))},
    "a list of nothing": {"consents.ads": pa.array([[None, ""]], pa.list_(pa.string()))},
    "null": {"consents.ads": pa.array([None], pa.list_(pa.string()))},
    "a column of nulls": {"consents.ads": pa.nulls(1)},
    "empty text": {"consents.ads": pa.array([""])},
}


@pytest.mark.parametrize("how", SILENT)
@pytest.mark.parametrize("stored", ["old form", "all", "channel"])
async def test_no_import_removes_an_objection_by_silence(shop: Nextbest, how: str, stored: str) -> None:
    customer_id = f"{stored} {how}".replace(" ", "-")
    bodies: dict[str, dict[str, Any]] = {
        "old form": {"consents": {"ads": []}},
        "all": {"objections": {"ads": ["*"]}},
        "channel": {"consents": {"ads": ["email"]}, "objections": {"ads": ["web"]}},
    }
    await shop.api.ok("PUT", f"/v1/customers/{customer_id}", json=bodies[stored])
    before = await shop.api.ok("GET", f"/v1/customers/{customer_id}")
    expected = ["email"] if stored == "channel" else []
    assert await offered(shop.api, customer_id) == expected
    content = SILENT[how]
    if isinstance(content, str):
        report = await load(shop.api, content.format(id=customer_id))
    else:
        report = await load(shop.api, table(customer_id=[customer_id], **content))
    assert report["loaded"] == 1
    assert await offered(shop.api, customer_id) == expected
    after = await shop.api.ok("GET", f"/v1/customers/{customer_id}")
    assert (after["consents"].get("ads"), after["objections"]) == (
        before["consents"].get("ads"),
        before["objections"],
    )


async def test_an_objection_by_channel_holds_under_legitimate_interest(shop: Nextbest) -> None:
    for objections, expected in (
        ({}, ["web", "email"]),
        ({"ads": ["web"]}, ["email"]),
        ({"ads": ["web", "email"]}, []),
        ({"ads": ["*"]}, []),
        ({"other": ["*"]}, ["web", "email"]),
    ):
        await shop.api.ok("PUT", "/v1/customers/choosy", json={"objections": objections})
        assert await offered(shop.api, "choosy") == expected
        found = await shop.api.ok("GET", "/v1/customers/choosy")
        assert (found["consents"], found["objections"]) == ({}, objections)
    await shop.api.ok(
        "PUT", "/v1/customers/choosy", json={"consents": {"ads": ["email"]}, "objections": {"ads": ["*"]}}
    )
    assert await offered(shop.api, "choosy") == ["email"]
    answer = await decide(shop.api, "choosy", "web", explain=True)
    stops = next(e for e in answer["explanation"] if e["offer_id"] == "interest")
    assert "objected" in str(stops)


async def test_files_can_say_all_that_there_is_to_say(shop: Nextbest) -> None:
    """Each cell comes after the one before it."""
    for cell, consents, objections in (
        ("email|web", ["email", "web"], None),
        ("", ["email", "web"], None),
        ("!web", ["email"], ["web"]),
        ("web", ["web"], None),
        ("!*", None, ["*"]),
        ("email", ["email"], ["*"]),
        ("none", None, ["*"]),
        ("*|!email", ["*"], ["email"]),
        ("*", ["*"], ["email"]),
    ):
        report = await load(shop.api, f"customer_id,consents.ads\nspeaker,{cell}\n")
        assert report["loaded"] == 1
        found = await shop.api.ok("GET", "/v1/customers/speaker")
        assert (found["consents"].get("ads"), found["objections"].get("ads")) == (consents, objections), cell
    content = table(customer_id=["speaker"], **{"objections.ads": [["web"]]})
    assert (await load(shop.api, content))["loaded"] == 1
    found = await shop.api.ok("GET", "/v1/customers/speaker")
    assert found["objections"]["ads"] == ["email", "web"]


@pytest.mark.parametrize(
    "cell", ["Web", "web;email", "all", "sí", "x", "yes", "web|x", "!x", "web|!web", "none|web"]
)
async def test_what_names_no_channel_is_refused_and_changes_nothing(shop: Nextbest, cell: str) -> None:
    await shop.api.ok("PUT", "/v1/customers/said", json={"objections": {"ads": ["web"]}})
    for content in (
        f"customer_id,consents.ads\nsaid,{cell}\nother,\n",
        table(customer_id=["said", "other"], **{"consents.ads": [cell.split("|"), []]}),
    ):
        report = await load(shop.api, content)
        assert (report["loaded"], report["refused"]) == (1, 1)
        (refusal,) = report["refusals"]
        assert (refusal["row"], refusal["field"]) == (1, "consents.ads")
        assert refusal["reason"]
    found = await shop.api.ok("GET", "/v1/customers/said")
    assert (found["consents"], found["objections"]) == ({}, {"ads": ["web"]})


async def test_an_objection_to_a_channel_that_is_none_is_not_taken(shop: Nextbest) -> None:
    for channels in (["Web"], ["web", "phone"], []):
        response = await shop.api.call("PUT", "/v1/customers/typo", json={"objections": {"ads": channels}})
        assert problem_of(response, 422)["errors"][0]["field"].startswith("objections")
    problem_of(await shop.api.call("GET", "/v1/customers/typo"), 404)


async def test_an_objection_is_told_and_replayed_from_the_log(shop: Nextbest) -> None:
    """Of a decision that was made before the objection was withdrawn, and of one with an objection of the old form."""
    api = shop.api
    made = {}
    for name, body in (("new", {"objections": {"ads": ["web"]}}), ("old", {"consents": {"ads": []}})):
        await api.ok("PUT", f"/v1/customers/logged-{name}", json=body)
        made[name] = (await decide(api, f"logged-{name}", "web"))["decision_id"]
        await api.ok("PUT", f"/v1/customers/logged-{name}", json={})
    await shop.worker.archive()
    for decision_id in made.values():
        explained = await api.ok("GET", f"/v1/decisions/{decision_id}/explanation")
        (candidate,) = [c for c in explained["candidates"] if c["offer_id"] == "interest"]
        assert "objected" in str(candidate)
        replayed = await replay(decision_id, api.state.archive, api.state.catalogues, api.state.roster)
        assert replayed.identical
