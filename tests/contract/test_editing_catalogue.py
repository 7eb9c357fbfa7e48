"""Editing the catalogue without losing anything: what is read can be sent back, and only what is named changes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from decisioning.catalog.kinds import KINDS
from tests.support.api import Instance, Nextbest, problem_of, traces
from tests.support.rich_things import RICH_THINGS as RICH

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPTIONAL = {
    "attribute": "unit",
    "segment": "description",
    "group": "lever",
    "offer": "value_expression",
    "treatment": "image",
    "placement": "when",
    "contact_policy": "applies_to",
    "quiet_hours": "time_zone",
    "capacity": "team",
    "override": "ends_at",
    "context_weight": "goal",
}
CHANGED = ("title", "name", "reason", "lever", "when", "start", "description", "channel")
EACH = pytest.mark.parametrize("kind", RICH)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(shop: Nextbest) -> AsyncIterator[Instance]:
    """An instance with a thing of every kind."""
    for path, body in RICH.values():
        await shop.api.ok("PUT", f"/v1/{path}", json=body)
    yield shop.api


def live(**changes: Any) -> dict[str, Any]:
    """The rich offer, live."""
    return RICH["offer"][1] | {"status": "live", "mandatory": False} | changes


async def test_there_is_an_example_of_every_kind() -> None:
    assert RICH.keys() == {kind.name for kind in KINDS.values() if kind.in_files}


@EACH
async def test_what_is_read_can_be_sent_back(api: Instance, kind: str) -> None:
    path, body = RICH[kind]
    one = f"/v1/{path}"
    read = await api.ok("GET", one)
    assert {name: read[name] for name in body} == body
    for conditional in (False, True):
        tag = (await api.call("GET", one)).headers["ETag"]
        headers = {"If-Match": tag} if conditional else {}
        sent = await api.call("PUT", one, json=read, headers=headers)
        assert sent.status_code == 200, sent.text
        again = await api.call("GET", one)
        assert again.json() == read
        assert again.headers["ETag"] == sent.headers["ETag"]
    trail = await api.ok("GET", "/v1/catalog", params={"limit": 2})
    assert [entry["differences"] for entry in trail] == [[], []]


@EACH
async def test_a_list_shows_what_can_be_sent_back(api: Instance, kind: str) -> None:
    many, _, name = f"/v1/{RICH[kind][0]}".rpartition("/")
    found = [thing for thing in await api.ok("GET", many) if name in thing.values()]
    assert found == [await api.ok("GET", f"{many}/{name}")]


@EACH
async def test_another_id_than_that_of_the_path_is_refused(api: Instance, kind: str) -> None:
    one = f"/v1/{RICH[kind][0]}"
    read = await api.ok("GET", one)
    field = {
        "group": "group_id",
        "offer": "offer_id",
        "treatment": "treatment_id",
        "placement": "placement_id",
    }
    renamed = {field.get(kind, "id"): "other"}
    problem_of(await api.call("PUT", one, json=read | renamed), 422, field.get(kind, "id"))
    problem_of(await api.call("PATCH", one, json=renamed), 422, field.get(kind, "id"))


@EACH
async def test_a_patch_changes_what_it_names_and_nothing_else(api: Instance, kind: str) -> None:
    one = f"/v1/{RICH[kind][0]}"
    before = await api.call("GET", one)
    field = next(name for name in CHANGED if name in RICH[kind][1])
    value = RICH[kind][1][field]
    other = {"lever": 3.0, "when": "true", "start": "20:00"}.get(field, f"{value}-2")
    headers = {
        "If-Match": before.headers["ETag"],
        "X-Reason": "a try",
        "Content-Type": "application/merge-patch+json",
    }
    patched = await api.call("PATCH", one, json={field: other}, role="ops", headers=headers)
    assert patched.status_code == 200, patched.text
    shown = patched.json()
    warnings = shown.pop("warnings")
    assert shown == before.json() | {field: other}
    read = await api.call("GET", one)
    assert read.json() == shown
    assert read.headers["ETag"] == patched.headers["ETag"]
    newest = (await api.ok("GET", "/v1/catalog", params={"limit": 1}))[0]
    assert (newest["reason"], newest["author"], newest["kind"]) == ("a try", "test ops", kind)
    assert [(d["before"], d["after"]) for d in newest["differences"]] == [(value, other)]
    problem_of(await api.call("PATCH", one, json={field: value}, headers=headers), 412)
    back = await api.ok("PATCH", one, json={field: value})
    assert back | {"warnings": []} == before.json() | {"warnings": []}
    assert isinstance(warnings, list)


@EACH
async def test_the_answer_to_a_patch_can_be_sent_back_with_its_warnings(api: Instance, kind: str) -> None:
    one = f"/v1/{RICH[kind][0]}"
    before = await api.ok("GET", one)
    odd: Any = {"field": one, "message": "is odd", "way_out": "leave it out"}
    answer = await api.ok("PATCH", one, json={"warnings": [odd]})
    assert odd not in answer["warnings"]
    await api.ok("PUT", one, json=answer | {"warnings": [*answer["warnings"], odd]})
    assert await api.ok("GET", one) == before


async def test_a_patch_warns_of_what_it_does(api: Instance) -> None:
    answer = await api.ok("PATCH", "/v1/goals/serve", json={"lever": 1.5})
    assert "goals.serve.lever" in [warning["field"] for warning in answer["warnings"]]
    await api.ok("PATCH", "/v1/goals/serve", json={"lever": RICH["goal"][1]["lever"]})
    answer = await api.ok("PATCH", "/v1/capacities/rich", json={"team": "nobody"})
    assert "capacities.rich.team" in [warning["field"] for warning in answer["warnings"]]
    await api.ok("PATCH", "/v1/capacities/rich", json={"team": RICH["capacity"][1]["team"]})


@pytest.mark.parametrize("kind", OPTIONAL)
async def test_null_takes_away(api: Instance, kind: str) -> None:
    one, field = f"/v1/{RICH[kind][0]}", OPTIONAL[kind]
    before = await api.ok("GET", one)
    patched = await api.ok("PATCH", one, json={field: None})
    default = {"lever": 0.0, "time_zone": "UTC", "description": ""}.get(field)
    assert patched == before | {field: default, "warnings": patched["warnings"]}
    patched = await api.ok("PATCH", one, json={field: before[field]})
    assert patched == before | {"warnings": patched["warnings"]}


@EACH
async def test_a_patch_that_is_wrong_is_refused_by_field(shop: Nextbest, api: Instance, kind: str) -> None:
    one = f"/v1/{RICH[kind][0]}"
    needed = next(
        iter(
            {"name", "type", "when", "title", "channel", "start", "reason", "lever", "watches"}
            & RICH[kind][1].keys()
        )
    )
    if kind == "group":
        needed = "name"
    before = await traces(shop)
    problem_of(await api.call("PATCH", one, json={"surprise": 1}), 422, "surprise")
    problem_of(await api.call("PATCH", one, json={"surprise": None}), 422, "surprise")
    problem_of(await api.call("PATCH", one, json={needed: [1]}), 422)
    for body in ("[]", "null", "1", '"text"'):
        headers = {"Content-Type": "application/merge-patch+json"}
        problem_of(await api.call("PATCH", one, content=body, headers=headers), 422, "body")
    problem_of(await api.call("PATCH", one, content="{}", headers={"Content-Type": "text/plain"}), 415)
    problem_of(await api.call("PATCH", one, json={}, role="frontend"), 403)
    problem_of(await api.call("PATCH", one, json={}, headers={"If-None-Match": "*"}), 412)
    if kind not in ("goal",):
        nowhere = one.rpartition("/")[0] + ("/offer.nowhere" if kind == "attribute" else "/nowhere")
        problem_of(await api.call("PATCH", nowhere, json={}), 404)
    assert await traces(shop) == before


async def test_what_is_needed_cannot_be_taken_away(api: Instance) -> None:
    problem_of(await api.call("PATCH", "/v1/offers/rich", json={"name": None}), 422, "name")
    problem_of(await api.call("PATCH", "/v1/offers/rich", json={"group": "nowhere"}), 422, "group")
    broken = [{"name": "a", "tier": "eligibility", "when": "customer.nothing"}]
    assert (
        "rules"
        in problem_of(await api.call("PATCH", "/v1/offers/rich", json={"rules": broken}), 422)["detail"]
    )


async def test_objects_are_merged_and_lists_replaced(api: Instance) -> None:
    before = await api.ok("GET", "/v1/offers/rich")
    patch = {"attributes": {"line": None, "speed": 100}, "contact_limits": [{"max": 1, "window_s": 30}]}
    patched = await api.ok("PATCH", "/v1/offers/rich", json=patch)
    assert patched["attributes"] == {"months": 12, "rate": 1.0, "new": True, "speed": 100}
    assert patched["contact_limits"] == patch["contact_limits"]
    assert patched["rules"] == before["rules"]
    await api.ok("PUT", "/v1/offers/rich", json=before)


async def test_patches_at_the_same_time_are_all_kept(shop: Nextbest, api: Instance) -> None:
    async with shop.another() as other:
        await asyncio.gather(
            *(
                some.ok("PATCH", "/v1/offers/rich", json={"attributes": {f"a{number}": number}})
                for number, some in enumerate([api, other] * 6)
            )
        )
    await api.state.refresh()
    found = (await api.ok("GET", "/v1/offers/rich"))["attributes"]
    assert {name: value for name, value in found.items() if name[:1] == "a"} == {
        f"a{n}": n for n in range(12)
    }
    await api.ok("PUT", "/v1/offers/rich", json=RICH["offer"][1])


async def test_treatments_are_not_changed_with_their_offer(shop: Nextbest, api: Instance) -> None:
    read = await api.ok("GET", "/v1/offers/rich")
    before = await traces(shop)
    for sent in ([], [read["treatments"][0] | {"title": "Other"}]):
        problem_of(
            await api.call("PUT", "/v1/offers/rich", json=read | {"treatments": sent}), 422, "treatments"
        )
        problem_of(await api.call("PATCH", "/v1/offers/rich", json={"treatments": sent}), 422, "treatments")
    problem_of(await api.call("PATCH", "/v1/offers/rich", json={"treatments": None}), 422, "treatments")
    wrong = {"effective_status": "ended"}
    problem_of(await api.call("PATCH", "/v1/offers/rich", json=wrong), 422, "effective_status")
    assert await traces(shop) == before


async def test_a_put_that_takes_away_says_so_or_is_refused(shop: Nextbest, api: Instance) -> None:
    await api.ok("PUT", "/v1/offers/guarded", json=live())
    response = await api.call("GET", "/v1/offers/guarded")
    tag, before = {"If-Match": response.headers["ETag"]}, await traces(shop)
    bare = {"name": "Rich", "group": "rich", "lever": 1}
    refused = problem_of(await api.call("PUT", "/v1/offers/guarded", json=bare), 409)
    assert [error["field"] for error in refused["errors"]] == [
        *("requires_consent", "legal_basis", "rules", "contact_limits", "min_propensity"),
        *("not_with", "not_after", "after_rejection", "team", "ends_at"),
    ]
    assert refused["errors"][2]["reason"] == "would lose 'known', 'not yet'"
    words = "consent,legal_basis,rules,limits,exclusions,capacity,end"
    assert f"?confirm_removal={words}" in refused["detail"]
    assert "PATCH" in refused["detail"]
    for confirmed, headers in (
        ("", tag),
        (words, {}),  # of which version?
        (words.replace("rules,", ""), tag),
    ):
        given = {"confirm_removal": confirmed}
        problem_of(await api.call("PUT", "/v1/offers/guarded", json=bare, params=given, headers=headers), 409)
    unknown = {"confirm_removal": "rules,everything"}
    problem_of(
        await api.call("PUT", "/v1/offers/guarded", json=bare, params=unknown, headers=tag),
        422,
        "confirm_removal",
    )
    assert await traces(shop) == before
    named = ["consent,legal_basis", "rules", "limits,exclusions", "capacity", "ends_at"]
    params = {"confirm_removal": named}
    done = await api.call("PUT", "/v1/offers/guarded", json=bare, params=params, headers=tag)
    assert done.status_code == 200, done.text
    assert (await api.ok("GET", "/v1/offers/guarded"))["rules"] == []
    problem_of(await api.call("PUT", "/v1/offers/guarded", json=bare, params=params, headers=tag), 412)


async def test_one_rule_of_several_counts_as_well(api: Instance) -> None:
    await api.ok("PUT", "/v1/offers/guarded", json=live())
    renamed = live(rules=[RICH["offer"][1]["rules"][0] | {"name": "of record"}, RICH["offer"][1]["rules"][1]])
    assert (await api.call("PUT", "/v1/offers/guarded", json=renamed)).status_code == 200
    refused = problem_of(
        await api.call("PUT", "/v1/offers/guarded", json=live(rules=renamed["rules"][:1])), 409
    )
    assert refused["errors"] == [{"field": "rules", "reason": "would lose 'not yet'"}]
    patch = {"rules": renamed["rules"][:1]}
    assert len((await api.ok("PATCH", "/v1/offers/guarded", json=patch))["rules"]) == 1


async def test_what_offers_inherit_is_not_taken_away_unnoticed(shop: Nextbest, api: Instance) -> None:
    consent = {"requires_consent": "profiling"}
    bare = {"name": "Kept", "group": "kept"}
    await api.ok("PUT", "/v1/goals/retain", json=consent)
    await api.ok("PUT", "/v1/groups/kept", json={"name": "Kept", "goal": "retain"} | consent)
    await api.ok("PUT", "/v1/groups/free", json={"name": "Free", "goal": "serve"})
    await api.ok("PUT", "/v1/offers/kept", json=bare)
    await api.ok("PATCH", "/v1/groups/kept", json={"requires_consent": None})
    before = await traces(shop)
    for method, path, body in (
        ("PUT", "offers/kept", bare | {"group": "free"}),
        ("PUT", "groups/kept", {"name": "Kept", "goal": "serve"}),
        ("DELETE", "goals/retain", None),
    ):
        tag = (await api.call("GET", f"/v1/{path}")).headers["ETag"]
        for headers in ({}, {"If-Match": "*"}, {"If-Match": tag}):
            params = {"confirm_removal": "consent"} if headers.get("If-Match") == "*" else {}
            refused = problem_of(
                await api.call(method, f"/v1/{path}", json=body, headers=headers, params=params), 409
            )
            reason = "would lose 'profiling' of goal retain"
            assert refused["errors"] == [{"field": "requires_consent", "reason": reason}]
    assert await traces(shop) == before
    params = {"confirm_removal": "everything"}
    problem_of(await api.call("DELETE", "/v1/goals/retain", params=params), 422, "confirm_removal")
    params = {"confirm_removal": "consent"}
    done = await api.call("DELETE", "/v1/goals/retain", params=params, headers={"If-Match": tag})
    assert done.status_code == 200, done.text


async def test_drafts_and_ended_offers_are_replaced_freely(api: Instance) -> None:
    bare = {"name": "Rich", "group": "rich"}
    for path, status in (("offers/draft", "draft"), ("offers/over", "ended")):
        await api.ok("PUT", f"/v1/{path}", json=live(status=status))
        assert (await api.call("PUT", f"/v1/{path}", json=bare | {"status": status})).status_code == 200
    await api.ok("PUT", "/v1/offers/ending", json=live())
    assert (await api.call("PUT", "/v1/offers/ending", json=bare | {"status": "ended"})).status_code == 200


BARE: dict[str, dict[str, Any]] = {
    "attribute": {"type": "int"},
    "group": {"name": "Rich", "goal": "serve"},
    "placement": {"channel": "agent"},
    "contact_policy": {"name": "two", "max": 2, "window_s": 60},
    "quiet_hours": {"start": "21:00", "end": "08:00"},
    "capacity": {"name": "calls", "max": 300},
    "override": {"reason": "in May", "starts_at": "2026-05-01T00:00:00Z"},
    "context_weight": {"when": "customer.known", "percent": 1},
    "goal": {"lever": 1},
    "outcome": {"name": "Quoted"},
    "reason": {"name": "Too expensive"},
    "signal": {"when": "customer.known", "reason": "rich"},
    # What others know of its properties stays declared.
    "event": {name: RICH["event"][1][name] for name in ("name", "json_schema")},
    "trigger": {name: RICH["trigger"][1][name] for name in ("on", "deliver", "channels")},
    "holdout": {"share": 0.25},
    "article": {"title": "Cancelling", "body": "At the end of the month."},
}
"""Bodies without anything that protects, by kind."""


async def test_every_other_kind_that_protects_is_tried() -> None:
    assert {*BARE, "offer"} == {kind.name for kind in KINDS.values() if kind.protective}


@pytest.mark.parametrize("kind", BARE)
async def test_other_kinds_are_guarded_too(api: Instance, kind: str) -> None:
    body = BARE[kind]
    fields = [p.shown for p in KINDS[kind].protective if p.shown in RICH[kind][1]]
    one = f"/v1/{RICH[kind][0]}"
    response = await api.call("GET", one)
    refused = problem_of(await api.call("PUT", one, json=body), 409)
    assert [error["field"] for error in refused["errors"]] == fields
    assert await api.ok("GET", one) == response.json()
    words = refused["detail"].rpartition("=")[2]
    headers = {"If-Match": response.headers["ETag"]}
    done = await api.call("PUT", one, json=body, params={"confirm_removal": words}, headers=headers)
    assert done.status_code == 200, done.text
    await api.ok("PUT", one, json=RICH[kind][1])


async def test_a_kind_without_anything_to_lose_says_so(api: Instance) -> None:
    response = await api.call(
        "PUT", "/v1/segments/known", json={"when": "true"}, params={"confirm_removal": "rules"}
    )
    assert "nothing" in problem_of(response, 422, "confirm_removal")["detail"]
