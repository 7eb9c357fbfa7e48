"""The life of the catalogue: optimistic locking, audit trail, rollback, the document, statuses of offers."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from decisioning.catalog.store import MAX_AT_HAND, CatalogueStore
from tests.support.api import Instance, Nextbest, decide, problem_of, put_offer, traces
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

YAML = {"Content-Type": "application/yaml"}


def card(**fields: Any) -> dict[str, Any]:
    """The body of an offer."""
    return {"name": "Card", "group": "cards"} | fields


async def export(api: Instance, **parameters: Any) -> str:
    """The document of the catalogue."""
    response = await api.call("GET", "/v1/catalog/export", params=parameters)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/yaml")
    return response.text


async def send(api: Instance, path: str, document: str, **arguments: Any) -> Any:
    """Send a document; returns the response."""
    headers = YAML | arguments.pop("headers", {})
    return await api.call("POST", path, content=document, headers=headers, role="ops", **arguments)


async def test_etags_belong_to_one_thing(api: Instance) -> None:
    put = await api.call("PUT", "/v1/offers/tagged", json=card())
    tag = put.headers["ETag"]
    await put_offer(api, "another")
    await api.ok("PUT", "/v1/offers/tagged/treatments/x", json={"channel": "web", "title": "x"})
    read = await api.call("GET", "/v1/offers/tagged")
    assert read.headers["ETag"] == tag == f'"{put.json()["catalog_version"]}"'
    again = await api.call("PUT", "/v1/offers/tagged", json=card(value=2), headers={"If-Match": tag})
    assert again.status_code == 200
    assert again.headers["ETag"] != tag
    late = await api.call("PUT", "/v1/offers/tagged", json=card(value=3), headers={"If-Match": tag})
    assert "read it again" in problem_of(late, 412)["detail"]
    assert (await api.ok("GET", "/v1/offers/tagged"))["value"] == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("offers/kept", card()),
        ("groups/kept", {"name": "x", "goal": "serve"}),
        ("placements/kept", {"channel": "web"}),
        ("segments/kept", {"when": "customer.known"}),
    ],
)
async def test_preconditions(api: Instance, path: str, body: dict[str, Any]) -> None:
    path = f"/v1/{path}"
    new, any_ = {"If-None-Match": "*"}, {"If-Match": "*"}
    problem_of(await api.call("PUT", path, json=body, headers=any_), 412)
    problem_of(await api.call("PUT", path, json=body, headers={"If-Match": '"1"'}), 412)
    assert (await api.call("PUT", path, json=body, headers=new)).status_code == 201
    assert (
        "is there already" in problem_of(await api.call("PUT", path, json=body, headers=new), 412)["detail"]
    )
    assert (await api.call("PUT", path, json=body, headers=any_)).status_code == 200
    weak = "W/" + (await api.call("GET", path)).headers["ETag"]
    assert (await api.call("PUT", path, json=body, headers={"If-Match": weak})).status_code == 200
    if "offers" not in path:
        problem_of(await api.call("DELETE", path, headers={"If-Match": weak[2:]}), 412)
        tag = (await api.call("GET", path)).headers["ETag"]
        assert (await api.call("DELETE", path, headers={"If-Match": tag})).status_code == 200
        problem_of(await api.call("GET", path), 404)
        problem_of(await api.call("DELETE", path), 404)
        assert (await api.call("PUT", path, json=body, headers=new)).status_code == 201


@pytest.mark.parametrize(
    ("header", "value"),
    [("If-Match", "12"), ("If-Match", '"x"'), ("If-Match", '"1", "2"'), ("If-None-Match", '"3"')],
)
async def test_preconditions_that_are_none(api: Instance, header: str, value: str) -> None:
    problem_of(await api.call("PUT", "/v1/offers/gold", json=card(), headers={header: value}), 422, header)


async def test_of_two_editors_one_is_told(shop: Nextbest) -> None:
    await put_offer(shop.api, "shared")
    tag = (await shop.api.call("GET", "/v1/offers/shared")).headers["ETag"]
    async with shop.another() as other:
        answers = await asyncio.gather(
            *(
                instance.call("PUT", "/v1/offers/shared", json=card(value=n), headers={"If-Match": tag})
                for n in range(5)
                for instance in (shop.api, other)
            )
        )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [412] * 9
    won = next(n // 2 for n, answer in enumerate(answers) if answer.status_code == 200)
    await shop.api.state.refresh()  # the other one may have won, which is known here within a second
    assert (await shop.api.ok("GET", "/v1/offers/shared"))["value"] == won


async def test_of_many_that_create_one_does(shop: Nextbest) -> None:
    async with shop.another() as other:
        answers = await asyncio.gather(
            *(
                instance.call("PUT", "/v1/groups/once", json=body, headers={"If-None-Match": "*"})
                for body in [{"name": "x", "goal": "serve"}] * 4
                for instance in (shop.api, other)
            )
        )
    assert sorted(answer.status_code for answer in answers) == [201] + [412] * 7


async def test_the_trail_tells_who_what_and_why(api: Instance) -> None:
    first = await api.call("PUT", "/v1/offers/traced", json=card(), headers={"X-Reason": "new"}, role="ops")
    body = card(value=9, rules=[{"name": "k", "tier": "eligibility", "when": "customer.known"}])
    await api.ok("PUT", "/v1/offers/traced", json=body, headers={"X-Reason": "dearer"}, role="admin")
    newest, oldest = await api.ok("GET", "/v1/catalog", params={"kind": "offer", "id": "traced"})
    assert (oldest["author"], oldest["reason"]) == ("test ops", "new")
    assert oldest["differences"][0]["before"] is None
    assert (newest["author"], newest["reason"]) == ("test admin", "dearer")
    assert newest["differences"] == [
        {"path": "offers.traced.rules", "before": None, "after": body["rules"]},
        {"path": "offers.traced.value", "before": 1.0, "after": 9.0},
    ]
    assert oldest["version"] == first.json()["catalog_version"] < newest["version"]
    page = await api.ok("GET", "/v1/catalog", params={"before": newest["version"], "limit": 1})
    assert page[0]["version"] == newest["version"] - 1
    entries = await api.ok("GET", "/v1/catalog", params={"limit": 1000})
    versions = [entry["version"] for entry in entries]
    assert versions == list(range(versions[0], 0, -1))


async def test_the_trail_only_grows(shop: Nextbest) -> None:
    for statement in (
        "UPDATE catalog_entries SET author = 'somebody else'",
        "DELETE FROM catalog_entries WHERE version = 1",
        "TRUNCATE catalog_entries",
    ):
        async with shop.api.state.engine.connect() as connection:
            with pytest.raises(DBAPIError, match="audit trail"):
                await connection.execute(text(statement))


async def test_rollback_restores_exactly(shop: Nextbest) -> None:
    api = shop.api
    before, there = await export(api), (await api.ok("GET", "/v1/catalog", params={"limit": 1}))[0]["version"]
    offers = await api.ok("GET", "/v1/offers")
    await api.ok("PUT", "/v1/offers/gold", json=card(name="Lead", value=1))
    await api.ok("PUT", "/v1/offers/lead", json=card(name="Lead"))
    await api.ok("PUT", "/v1/attributes/customer.shoe", json={"type": "number"})
    await api.ok("PUT", "/v1/segments/big", json={"when": "customer.shoe > 45.0"})
    await api.ok("POST", "/v1/offers/silver/status", json={"status": "ended", "reason": "enough"})
    await api.ok("DELETE", "/v1/offers/silver/treatments/banner")
    changed = await export(api)
    assert changed != before
    answer = await api.ok("POST", "/v1/catalog/rollback", json={"version": there, "reason": "wrong"})
    assert {d["path"] for d in answer["differences"]} >= {"offers.gold.name", "segments.big", "offers.lead"}
    assert await export(api) == before
    assert await api.ok("GET", "/v1/offers") == offers
    newest = (await api.ok("GET", "/v1/catalog", params={"limit": 1}))[0]
    assert (newest["reason"], newest["author"]) == ("wrong", "test admin")
    assert await export(api, version=answer["catalog_version"]) == before
    await api.ok("POST", "/v1/catalog/rollback", json={"version": answer["catalog_version"]})
    assert await export(api) == before
    problem_of(await api.call("POST", "/v1/catalog/rollback", json={"version": 10**9}), 422, "version")


async def test_a_document_is_applied_as_a_whole_or_not_at_all(shop: Nextbest) -> None:
    api = shop.api
    document = await export(api)
    assert (await send(api, "/v1/catalog/diff", document)).json()["differences"] == []
    good = document.replace("name: Cards", "name: Plastic")
    stored = await traces(shop)
    shown = (await send(api, "/v1/catalog/diff", good)).json()
    expected = [{"path": "groups.cards.name", "before": "Cards", "after": "Plastic"}]
    assert shown["differences"] == expected
    dry = (await send(api, "/v1/catalog/apply", good, params={"dry_run": True})).json()
    assert (dry["differences"], dry["dry_run"]) == (expected, True)
    bad = good.replace("group: cards", "group: nowhere", 1)
    problem_of(await send(api, "/v1/catalog/apply", bad), 422, "offers.another.group")
    problem_of(await send(api, "/v1/catalog/diff", bad), 422, "offers.another.group")
    refused = problem_of(await send(api, "/v1/catalog/apply", good.replace("slots: 2", "slots: 0")), 422)
    assert "placements.home.slots" in refused["detail"]
    assert "line " in refused["detail"]
    assert await traces(shop) == stored
    answer = (await send(api, "/v1/catalog/apply", good, headers={"X-Reason": "in german"})).json()
    assert answer["differences"] == expected
    assert await export(api) == good
    assert (await api.ok("GET", "/v1/catalog", params={"limit": 1}))[0]["reason"] == "in german"
    assert (await send(api, "/v1/catalog/apply", good)).json()["catalog_version"] == answer["catalog_version"]
    await send(api, "/v1/catalog/apply", document)
    assert await export(api) == document


async def test_what_is_applied_at_once_has_one_version(shop: Nextbest) -> None:
    """Promised: one version per apply, so no version names a state in the middle of one."""
    before = await export(shop.api)
    version = int((await shop.api.ok("GET", "/v1/catalog", params={"limit": 1}))[0]["version"])
    changed = before.replace("name: Cards", "name: Plastic").replace("name: gold", "name: Aurum")
    answer = (await send(shop.api, "/v1/catalog/apply", changed)).json()
    assert {found["path"] for found in answer["differences"]} == {"groups.cards.name", "offers.gold.name"}
    assert answer["catalog_version"] == version + 1
    newest = await shop.api.ok("GET", "/v1/catalog", params={"limit": 1})
    assert {(entry["version"], entry["kind"]) for entry in newest} == {
        (version + 1, "group"),
        (version + 1, "offer"),
    }
    cut = await shop.api.ok("GET", "/v1/catalog", params={"limit": 1, "whole": "false"})
    assert [(entry["version"], entry["kind"]) for entry in cut] == [(version + 1, "group")]
    older = await shop.api.ok("GET", "/v1/catalog", params={"before": version + 1, "limit": 1})
    assert older[0]["version"] == version
    assert await export(shop.api, version=version) == before
    assert await export(shop.api, version=version + 1) == changed
    back = await shop.api.ok(
        "POST", "/v1/catalog/rollback", json={"version": version, "reason": "back"}, role="ops"
    )
    assert back["catalog_version"] == version + 2
    assert await export(shop.api) == before


async def test_a_document_that_is_out_of_date(api: Instance) -> None:
    response = await api.call("GET", "/v1/catalog/export")
    await api.ok("PUT", "/v1/groups/meanwhile", json={"name": "x", "goal": "serve"})
    document = response.text.replace("name: Cards", "name: Metal")
    tag = {"If-Match": response.headers["ETag"]}
    problem_of(await send(api, "/v1/catalog/apply", document, headers=tag), 412)
    assert (await api.ok("GET", "/v1/groups/cards"))["name"] == "Cards"


async def test_documents_that_are_none(api: Instance) -> None:
    problem_of(await send(api, "/v1/catalog/apply", "[", params={"dry_run": True}), 422, "document")
    response = await api.call("POST", "/v1/catalog/diff", content=b"\xff", headers=YAML)
    problem_of(response, 422, "body")


async def test_statuses(api: Instance) -> None:
    async def become(status: str, expected: int = 200, **arguments: Any) -> Any:
        path = "/v1/offers/staged/status"
        response = await api.call("POST", path, json={"status": status}, role="ops", **arguments)
        assert response.status_code == expected, response.text
        return response.json()

    async def offered() -> bool:
        answer = await decide(api, "ann", "stage", limit=100, dry_run=True)
        return "staged" in [o["offer_id"] for o in answer["offers"]]

    await api.ok("PUT", "/v1/placements/stage", json={"channel": "stage", "deadline_ms": 5000})
    await api.ok("PUT", "/v1/offers/staged", json=card(status="draft"))
    assert "has no treatment yet" in (await become("live", 422))["detail"]
    await api.ok("PUT", "/v1/offers/staged/treatments/a", json={"channel": "stage", "title": "a"})
    assert not await offered()
    assert (await become("live"))["differences"] == [
        {"path": "offers.staged.status", "before": "draft", "after": "live"}
    ]
    assert await offered()
    assert "cannot become draft" in (await become("draft", 422))["detail"]
    await become("paused")
    assert not await offered()
    assert "needs a start" in (await become("scheduled", 422))["detail"]
    await become("live")
    await become("live", 412, headers={"If-Match": '"1"'})
    await become("ended")
    assert not await offered()
    assert "another offer" in (await become("live", 422))["detail"]
    problem_of(await api.call("PUT", "/v1/offers/staged", json=card()), 422, "status")
    problem_of(await api.call("POST", "/v1/offers/nothing/status", json={"status": "live"}), 404)


async def test_statuses_follow_the_clock(api: Instance) -> None:
    for status, starts_at, ends_at, shown in (
        ("live", None, None, "live"),
        ("live", "2099-01-01T00:00:00Z", None, "scheduled"),
        ("scheduled", "2099-01-01T00:00:00Z", None, "scheduled"),
        ("scheduled", "2020-01-01T00:00:00Z", None, "live"),
        ("live", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "ended"),
        ("paused", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "ended"),
        ("paused", "2099-01-01T00:00:00Z", None, "paused"),
    ):
        body = card(status=status, starts_at=starts_at, ends_at=ends_at)
        await api.ok("PUT", "/v1/offers/clocked", json=body)
        offer = await api.ok("GET", "/v1/offers/clocked")
        assert (offer["status"], offer["effective_status"]) == (status, shown)


async def test_only_drafts_are_deleted(api: Instance) -> None:
    await api.ok("PUT", "/v1/offers/sketch", json=card(status="draft"))
    treatment = {"channel": "web", "title": "x"}
    await api.ok("PUT", "/v1/offers/sketch/treatments/a", json=treatment)
    await api.ok("DELETE", "/v1/offers/sketch", role="ops")
    problem_of(await api.call("GET", "/v1/offers/sketch"), 404)
    problem_of(await api.call("PUT", "/v1/offers/sketch/treatments/b", json=treatment), 404)
    await api.ok("PUT", "/v1/offers/sketch", json=card(status="draft"))
    assert (await api.ok("GET", "/v1/offers/sketch"))["treatments"] == []
    assert "end it instead" in problem_of(await api.call("DELETE", "/v1/offers/gold"), 409)["detail"]
    problem_of(await api.call("DELETE", "/v1/offers/nothing"), 404)
    await api.ok("PUT", "/v1/placements/sketched", json={"channel": "web", "default_offers": ["sketch"]})
    problem_of(await api.call("DELETE", "/v1/offers/sketch"), 422, "default_offers")


async def test_an_applied_change_is_live_in_another_instance_within_a_second(shop: Nextbest) -> None:
    document = await export(shop.api)
    async with shop.another(catalog_poll_ms=500) as other:
        await send(shop.api, "/v1/catalog/apply", document.replace("name: gold", "name: Aurum"))

        async def there() -> bool:
            return bool((await other.ok("GET", "/v1/offers/gold"))["name"] == "Aurum")

        assert await eventually(there, "the applied name in the other instance", timeout_s=5)
        await shop.api.ok("POST", "/v1/offers/gold/status", json={"status": "paused"})

        async def paused() -> bool:
            answer = await decide(other, limit=100, dry_run=True)
            return "gold" not in [offer["offer_id"] for offer in answer["offers"]]

        assert await eventually(paused, "the paused offer to be gone in the other instance", timeout_s=5)


async def test_versions_that_were_asked_for_are_at_hand_and_the_oldest_is_let_go(api: Instance) -> None:
    versions = []
    for number in range(MAX_AT_HAND + 1):
        await put_offer(api, "versioned", value=number)
        versions.append(await api.state.catalogues.version())
    store = CatalogueStore(api.state.engine)
    first = await store.load(versions[0])
    assert await store.load(versions[0]) is first
    assert (first.version, first.offers["versioned"].value) == (versions[0], 0)
    later = [await store.load(version) for version in versions[1:]]
    assert [catalogue.offers["versioned"].value for catalogue in later] == [*range(1, MAX_AT_HAND + 1)]
    assert await store.load(versions[-1]) is later[-1]
    again = await store.load(versions[0])
    assert again is not first
    assert again.offers["versioned"].value == 0
    assert (await store.load()).version >= versions[-1]


async def test_the_catalogue_in_force_is_not_built_anew_to_explain_decisions_made_with_it(
    api: Instance,
) -> None:
    await put_offer(api, "in-force")
    live = api.state.current_catalogue()
    assert await api.state.catalogues.load(live.version) is live
