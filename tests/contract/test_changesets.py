"""Change sets: drafts of the catalogue that are checked, approved by another person, applied and taken back as one."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.keys import KeyStore, Role
from decisioning.catalog.kinds import KINDS
from rules.errors import RuleError
from rules.expression import Checker
from tests.support.api import Instance, Nextbest, operations_of, problem_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

YAML = {"Content-Type": "application/yaml"}
SETS = "/v1/changesets"
CHANGE_NOTHING = {"diff_catalog", "simulate_catalog", "propose_catalog"}
"""Operations on the catalogue that are no `GET`, and take no approval."""


@dataclass(frozen=True, slots=True)
class People:
    """An instance, and keys of several persons who may change the catalogue: ada, bea and cem; eva is an admin."""

    api: Instance
    keys: dict[str, str]

    async def call(self, who: str, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"X-API-Key": self.keys[who]} | arguments.pop("headers", {})
        return await self.api.call(method, path, role=None, headers=headers, **arguments)

    async def ok(self, who: str, method: str, path: str, **arguments: Any) -> Any:
        response = await self.call(who, method, path, **arguments)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    async def draft(self, who: str, *items: tuple[str, Any], title: str = "Changes") -> str:
        """A change set with items (path, and body or None); returns its path."""
        made = await self.ok(who, "POST", SETS, json={"title": title})
        path = f"{SETS}/{made['changeset_id']}"
        for item, body in items:
            sent = {"removal": True} if body is None else {"body": body}
            await self.ok(who, "PUT", f"{path}/items/{item}", json=sent)
        return path

    async def act(self, who: str, path: str, action: str, **body: Any) -> httpx.Response:
        """Do something with a change set, after it has been looked at."""
        tag = (await self.call(who, "GET", path)).headers["ETag"]
        return await self.call(who, "POST", f"{path}/{action}", json=body, headers={"If-Match": tag})

    async def do(self, who: str, path: str, action: str, **body: Any) -> Any:
        response = await self.act(who, path, action, **body)
        assert response.status_code == 200, f"{action}: {response.text}"
        return response.json()

    async def applied(self, path: str, approver: str = "bea") -> Any:
        """Take a draft of ada to the catalogue."""
        await self.do("ada", path, "submit")
        await self.do(approver, path, "approve")
        return await self.do("ada", path, "apply")

    async def state(self, path: str) -> str:
        return str((await self.ok("ada", "GET", path))["state"])


PERSONS: dict[str, Role] = {"ada": "ops", "bea": "ops", "cem": "ops", "eva": "admin", "dan": "scientist"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(shop: Nextbest) -> People:
    """People at an instance that requires no approvals."""
    store = KeyStore(shop.api.state.engine)
    keys = {name: await store.create(role, name) for name, role in PERSONS.items()}
    people = People(shop.api, keys)
    await shop.api.state.refresh()
    return people


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(shop: Nextbest, people: People) -> AsyncIterator[People]:
    """The same people at an instance that requires approvals."""
    async with shop.another(approvals="required") as instance:
        yield People(instance, people.keys)


def group(name: str = "Loans", **fields: Any) -> dict[str, Any]:
    return {"name": name, "goal": "grow"} | fields


async def test_the_life_of_a_change_set(strict: People) -> None:
    before = (await strict.ok("ada", "GET", "/v1/offers/gold"))["value"]
    path = await strict.draft("ada", ("group/fresh", group()), title="Loans")
    await strict.ok("ada", "PATCH", f"{path}/items/offer/gold", json={"value": 77, "group": "fresh"})
    found = await strict.ok("ada", "GET", f"{path}/diff")
    assert found["summary"]["added"] == ["groups.fresh"]
    assert {"path": "offers.gold.value", "before": before, "after": 77.0} in found["differences"]
    assert found["revision"] == (await strict.ok("ada", "GET", path))["revision"]
    assert found["words"] == [
        "1 added: groups.fresh",
        "1 changed: offers.gold",
        "    offers.gold: group, value",
    ]
    checked = await strict.ok("ada", "POST", f"{path}/check", params={"placement": "home", "sample": 5})
    assert checked["ok"]
    assert checked["simulation"]["placement"] == "home"
    assert "without_offer" in checked["simulation"]["changed"]
    assert (await strict.ok("ada", "GET", "/v1/offers/gold"))["value"] == before, "nothing is in force yet"

    await strict.do("ada", path, "submit", note="please look")
    await strict.do("bea", path, "approve", note="fine")
    applied = await strict.do("ada", path, "apply")
    offer = await strict.ok("ada", "GET", "/v1/offers/gold")
    assert (offer["value"], offer["group"]) == (77, "fresh")
    trail = await strict.ok("ada", "GET", "/v1/catalog", params={"limit": 2})
    assert {entry["version"] for entry in trail} == {applied["catalog_version"]}, "one version for all"
    number = path.rpartition("/")[2]
    assert {(e["author"], e["reason"]) for e in trail} == {
        ("ada", f"change set {number} by ada, approved by bea: Loans")
    }
    told = await strict.ok("dan", "GET", path)
    assert [(step["action"], step["author"], step["note"]) for step in told["trail"]] == [
        ("create", "ada", ""),
        ("put_item", "ada", ""),
        ("put_item", "ada", ""),
        ("submit", "ada", "please look"),
        ("approve", "bea", "fine"),
        ("apply", "ada", ""),
    ]
    assert [step["revision"] for step in told["trail"]] == [1, 2, 3, 4, 5, 6]
    assert told["state"] == "applied"
    then = await strict.ok("ada", "GET", f"{path}/diff")
    assert (then["differences"], then["overlaps"]) == (found["differences"], [])

    problem = problem_of(await strict.act("ada", path, "rollback", reason="no"), 403)
    assert f"inverse_of {number}" in problem["detail"]
    inverse = await strict.ok("ada", "POST", SETS, json={"title": "Back", "inverse_of": int(number)})
    back = f"{SETS}/{inverse['changeset_id']}"
    problem_of(await strict.call("ada", "PUT", f"{back}/items/group/x", json={"body": group()}), 409)
    await strict.applied(back)
    assert (await strict.ok("ada", "GET", "/v1/offers/gold"))["value"] == before
    problem_of(await strict.call("ada", "GET", "/v1/groups/fresh"), 404)
    assert await strict.state(path) == "rolled_back"


def writing_requests(api: Instance) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A valid request of each operation that changes the catalogue: method, path, and arguments."""
    schemas = api.app.openapi()["components"]["schemas"]
    ids = {"attribute": "customer.age", "goal": "grow"}
    for name, (method, path, operation) in operations_of(api).items():
        if operation["tags"] != ["catalogue"] or method == "GET" or name in CHANGE_NOTHING:
            continue
        path = path.replace("{thing_id}", ids.get(name.partition("_")[2], "x"))
        arguments: dict[str, Any] = {}
        if "requestBody" in operation:
            content_type, media = next(iter(operation["requestBody"]["content"].items()))
            found = schemas.get(media["schema"].get("$ref", "").rpartition("/")[2], media)
            example = media["example"] if "example" in media else found["examples"][0]
            # A document that changes nothing needs no approval.
            is_document = isinstance(example, str)
            content = example.replace("name: Cards", "name: Others") if is_document else json.dumps(example)
            arguments = {"content": content, "headers": {"Content-Type": content_type}}
        yield method, re.sub(r"{\w+}", "gold", path), arguments


async def test_ops_change_nothing_alone_where_approvals_are_required(strict: People) -> None:
    version = (await strict.call("ada", "GET", "/v1/catalog/export")).headers["ETag"]
    requests = list(writing_requests(strict.api))
    assert len(requests) > 3 * (len(KINDS) - 1), "all but deployments"
    for method, path, arguments in requests:
        problem = problem_of(await strict.call("ada", method, path, **arguments), 403)
        assert "make a change set" in problem["detail"], path
    assert (await strict.call("ada", "GET", "/v1/catalog/export")).headers["ETag"] == version
    document = "nextbest: 1\ngroups:\n  alone: {name: Alone, goal: grow}\n"
    tried = await strict.ok(
        "ada", "POST", "/v1/catalog/apply", content=document, headers=YAML, params={"dry_run": True}
    )
    assert tried["summary"]["added"] == ["groups.alone"], "a dry run changes nothing"


async def test_an_admin_may_do_without_and_the_audit_trail_says_so(strict: People) -> None:
    await strict.ok("eva", "PUT", "/v1/groups/urgent", json=group(), headers={"X-Reason": "it burns"})
    trail = await strict.ok("eva", "GET", "/v1/catalog", params={"limit": 1})
    assert (trail[0]["author"], trail[0]["reason"]) == ("eva", "without approval: it burns")
    await strict.ok(
        "eva", "POST", "/v1/offers/silver/status", json={"status": "paused", "reason": "sold out"}
    )
    document = "nextbest: 1\ngroups:\n  urgent: {name: U, goal: serve}\n"
    await strict.ok("eva", "POST", "/v1/catalog/apply", content=document, headers=YAML)
    back = {"version": trail[0]["version"], "reason": "over"}
    await strict.ok("eva", "POST", "/v1/catalog/rollback", json=back)
    found = await strict.ok("eva", "GET", "/v1/catalog", params={"limit": 4})
    assert {entry["reason"] for entry in found if entry["version"] > trail[0]["version"]} == {
        "without approval: sold out",
        "without approval",
        "without approval: over",
    }


async def test_a_document_becomes_a_change_set(strict: People) -> None:
    document = "nextbest: 1\ngroups:\n  filed: {name: Filed, goal: grow}\n"
    made = await strict.ok(
        "ada",
        "POST",
        "/v1/catalog/changeset",
        content=document,
        headers=YAML,
        params={"title": "From a file"},
    )
    assert made["summary"]["added"] == ["groups.filed"]
    path = f"{SETS}/{made['changeset_id']}"
    items = (await strict.ok("bea", "GET", path))["items"]
    assert items == [
        {"kind": "group", "id": "filed", "removal": False, "body": {"name": "Filed", "goal": "grow"}}
    ]
    await strict.applied(path)
    assert (await strict.ok("ada", "GET", "/v1/groups/filed"))["name"] == "Filed"
    wrong = document.replace("grow", "growl")
    response = await strict.call(
        "ada", "POST", "/v1/catalog/changeset", content=wrong, headers=YAML, params={"title": "x"}
    )
    problem_of(response, 422)


async def test_the_second_person_is_nobody_who_wrote_it(strict: People) -> None:
    path = await strict.draft("ada", ("group/pairs", group()))
    await strict.ok("bea", "PATCH", f"{path}/items/group/pairs", json={"lever": 5})
    await strict.do("eva", path, "submit")
    for writer in ("ada", "bea", "eva"):
        assert "another person" in problem_of(await strict.act(writer, path, "approve"), 403)["detail"]
        assert "approve" not in (await strict.ok(writer, "GET", path))["possible"]
    assert "approve" in (await strict.ok("cem", "GET", path))["possible"]
    await strict.do("cem", path, "approve")
    # An edit takes the approval away, and whoever makes it is a writer then.
    await strict.ok("cem", "PATCH", f"{path}/items/group/pairs", json={"lever": 6})
    found = await strict.ok("cem", "GET", path)
    assert (found["state"], found["approved_by"]) == ("draft", None)
    assert "approved" in problem_of(await strict.act("ada", path, "apply"), 409)["detail"]
    await strict.do("ada", path, "submit")
    problem_of(await strict.act("cem", path, "approve"), 403)
    await strict.do("eva", path, "approve")
    await strict.do("bea", path, "apply")
    assert (await strict.ok("ada", "GET", "/v1/groups/pairs"))["lever"] == 6


async def test_a_key_of_the_same_name_is_the_same_person(strict: People, shop: Nextbest) -> None:
    second = await KeyStore(shop.api.state.engine).create("admin", "ada")
    await strict.api.state.refresh()
    twin = People(strict.api, strict.keys | {"ada again": second})
    path = await twin.draft("ada", ("group/twins", group()))
    await twin.do("ada", path, "submit")
    problem_of(await twin.act("ada again", path, "approve"), 403)


async def test_an_approval_is_of_what_was_looked_at(strict: People) -> None:
    path = await strict.draft("ada", ("group/looked", group()))
    await strict.do("ada", path, "submit")
    problem_of(await strict.call("bea", "POST", f"{path}/approve", json={}), 422, "If-Match")
    seen = (await strict.call("bea", "GET", path)).headers["ETag"]
    await strict.ok("ada", "PATCH", f"{path}/items/group/looked", json={"lever": 900})
    await strict.do("ada", path, "submit")
    late = await strict.call("bea", "POST", f"{path}/approve", json={}, headers={"If-Match": seen})
    assert "read it again" in problem_of(late, 412)["detail"]
    assert await strict.state(path) == "submitted"


async def test_without_required_approvals_a_draft_is_applied_at_once(people: People) -> None:
    path = await people.draft("ada", ("group/soon", group()))
    assert "apply" in (await people.ok("ada", "GET", path))["possible"]
    applied = await people.do("ada", path, "apply", note="at once")
    reason = (await people.ok("ada", "GET", "/v1/catalog", params={"limit": 1}))[0]["reason"]
    assert "approved" not in reason
    back = await people.do("ada", path, "rollback", reason="too soon")
    assert back["catalog_version"] == applied["catalog_version"] + 1
    problem_of(await people.call("ada", "GET", "/v1/groups/soon"), 404)
    problem_of(await people.act("ada", path, "rollback"), 409)


async def test_all_mistakes_are_told_by_name(people: People) -> None:
    path = await people.draft(
        "ada",
        ("offer/nowhere", {"name": "Nowhere", "group": "none"}),
        ("offer/odd", {"name": "Odd", "group": "cards", "rules": [
            {"name": "r", "tier": "eligibility", "when": "customer.nothing > 1"}]}),
        ("treatment/nobody/banner", {"channel": "web", "title": "x"}),
        ("offer/gold", None),
    )  # fmt: skip
    checked = await people.ok("ada", "POST", f"{path}/check", params={"placement": "home"})
    assert not checked["ok"]
    assert checked["simulation"] is None
    fields = {error["field"]: error["reason"] for error in checked["errors"]}
    assert {"offers.nowhere.group", "offers.odd.rules.r", "offers.nobody.treatments.banner.offer"} <= {
        *fields
    }
    assert "end it instead" in fields["offers.gold.status"]
    for action in ("submit", "apply"):
        problem = problem_of(await people.act("ada", path, action), 422)
        assert {*fields} <= {error["field"] for error in problem["errors"]} | {"offers.gold.status"}
    assert await people.state(path) == "draft"


@pytest.mark.parametrize(
    ("item", "body", "field"),
    [
        ("nothing/x", {"body": {}}, "kind"),
        ("deployment/home", {"body": {}}, "kind"),
        ("group/-x", {"body": group()}, "thing"),
        ("treatment/gold", {"body": {}}, "thing"),
        ("treatment/-/x", {"body": {"channel": "web"}}, "thing"),
        ("group/x", {}, "body"),
        ("group/x", {"body": group(), "removal": True}, "body"),
        ("group/x", {"body": group(goal="win")}, "body.goal"),
        ("group/x", {"body": group(group_id="y")}, "group_id"),
        ("group/x", {"body": group(colour="red")}, "body.colour"),
        ("offer/gold", {"body": {"name": "g", "group": "cards", "treatments": []}}, "treatments"),
    ],
)
async def test_bad_items_are_refused_and_change_nothing(
    people: People, item: str, body: dict[str, Any], field: str
) -> None:
    path = await people.draft("ada")
    problem_of(await people.call("ada", "PUT", f"{path}/items/{item}", json=body), 422, field)
    found = await people.ok("ada", "GET", path)
    assert (found["items"], found["revision"]) == ([], 1)


async def test_bad_requests(people: People) -> None:
    problem_of(await people.call("ada", "POST", SETS, json={}), 422, "title")
    problem_of(await people.call("ada", "POST", SETS, json={"title": "x", "inverse_of": 10**9}), 404)
    problem_of(await people.call("ada", "GET", f"{SETS}/999999999"), 404)
    problem_of(await people.call("ada", "GET", f"{SETS}/x"), 422)
    path = await people.draft("ada")
    problem_of(await people.act("ada", path, "submit"), 409)
    problem_of(await people.act("ada", path, "apply"), 409)
    problem_of(await people.act("ada", path, "reject"), 422, "reason")
    problem_of(await people.act("ada", path, "reject", reason="no"), 409)
    problem_of(await people.act("ada", path, "rebase", keep="yours"), 422, "keep")
    problem_of(await people.call("ada", "DELETE", f"{path}/items/group/none"), 404)
    problem_of(await people.call("ada", "PATCH", f"{path}/items/group/none", json={"lever": 1}), 404)
    problem_of(
        await people.call("ada", "POST", SETS, json={"title": "x", "inverse_of": int(path.split("/")[-1])}),
        409,
    )
    stale = {"If-Match": '"7"'}
    problem_of(
        await people.call("ada", "PUT", f"{path}/items/group/x", json={"body": group()}, headers=stale), 412
    )
    for zero in ({"If-Match": '"0"'}, {"If-Match": 'W/"0"'}):
        for action in ("withdraw", "submit"):
            problem_of(await people.call("ada", "POST", f"{path}/{action}", json={}, headers=zero), 412)
        item = f"{path}/items/group/cards"
        problem_of(await people.call("ada", "PATCH", item, json={"lever": 1}, headers=zero), 412)
    assert (await people.ok("ada", "GET", path))["revision"] == 1
    problem_of(await people.call("dan", "POST", SETS, json={"title": "x"}), 403)
    assert (await people.ok("dan", "GET", path))["possible"] == [], "a scientist reads"


async def test_rejected_and_withdrawn(people: People) -> None:
    path = await people.draft("ada", ("group/refused", group()))
    await people.do("ada", path, "submit")
    await people.do("bea", path, "reject", reason="no lever")
    problem_of(await people.act("ada", path, "apply"), 409)
    await people.ok("ada", "PATCH", f"{path}/items/group/refused", json={"lever": 1})
    assert await people.state(path) == "draft", "an edit opens it again"
    await people.do("ada", path, "withdraw", note="never mind")
    problem_of(await people.call("ada", "PUT", f"{path}/items/group/x", json={"body": group()}), 409)
    found = await people.ok("ada", "GET", SETS, params={"state": "withdrawn"})
    assert path.split("/")[-1] in [str(one["changeset_id"]) for one in found["changesets"]]


async def test_what_others_changed_is_told_and_refused_until_it_is_rebased(people: People) -> None:
    await people.ok("ada", "PUT", "/v1/groups/both", json=group("Both"))
    await people.ok("ada", "PUT", "/v1/groups/other", json=group("Other"))
    path = await people.draft("ada", ("group/other", group("Mine")))
    await people.ok("ada", "PATCH", f"{path}/items/group/both", json={"lever": 10})
    await people.do("ada", path, "submit")
    await people.do("bea", path, "approve")
    await people.ok("cem", "PATCH", "/v1/groups/both", json={"name": "Theirs"})
    await people.ok("cem", "PUT", "/v1/groups/unrelated", json=group())
    problem = problem_of(await people.act("ada", path, "apply"), 409)
    assert [error["field"] for error in problem["errors"]] == ["groups.both"]
    assert "'Both' -> 'Theirs'" in problem["errors"][0]["reason"]
    overlaps = (await people.ok("ada", "GET", f"{path}/diff"))["overlaps"]
    assert overlaps == [
        {"path": "groups.both", "theirs": [{"path": "groups.both.name", "before": "Both", "after": "Theirs"}]}
    ]
    # Fields that only one side changed need no decision; an approval is of what it was before.
    await people.do("ada", path, "rebase")
    assert await people.state(path) == "draft"
    await people.do("ada", path, "apply")
    both = await people.ok("ada", "GET", "/v1/groups/both")
    assert (both["name"], both["lever"]) == ("Theirs", 10)
    assert (await people.ok("ada", "GET", "/v1/groups/other"))["name"] == "Mine"


@pytest.mark.parametrize(("keep", "name"), [("mine", "A"), ("theirs", "B")])
async def test_a_field_that_both_changed_takes_a_decision(people: People, keep: str, name: str) -> None:
    thing = f"contested-{keep}"
    await people.ok("ada", "PUT", f"/v1/groups/{thing}", json=group("Old"))
    await people.ok("ada", "PUT", f"/v1/groups/{thing}-gone", json=group("Old"))
    path = await people.draft(
        "ada", (f"group/{thing}", group("A", lever=3)), (f"group/{thing}-gone", group("A"))
    )
    await people.ok("cem", "PATCH", f"/v1/groups/{thing}", json={"name": "B"})
    await people.ok("cem", "DELETE", f"/v1/groups/{thing}-gone")
    problem = problem_of(await people.act("ada", path, "rebase"), 409)
    assert {error["field"] for error in problem["errors"]} == {
        f"groups.{thing}.name",
        f"groups.{thing}-gone",
    }
    await people.do("ada", path, "rebase", keep=keep)
    await people.do("ada", path, "apply")
    found = await people.ok("ada", "GET", f"/v1/groups/{thing}")
    assert (found["name"], found["lever"]) == (name, 3)
    there = (await people.call("ada", "GET", f"/v1/groups/{thing}-gone")).status_code
    assert there == (200 if keep == "mine" else 404)


async def test_taking_back_what_others_have_changed_since_takes_force(people: People) -> None:
    await people.ok("ada", "PUT", "/v1/groups/later", json=group("Before"))
    path = await people.draft("ada", ("group/later", group("Mine")), ("group/later-too", group("New")))
    await people.do("ada", path, "apply")
    await people.ok("cem", "PATCH", "/v1/groups/later", json={"lever": 7})
    problem = problem_of(await people.act("ada", path, "rollback", reason="x"), 409)
    assert [error["field"] for error in problem["errors"]] == ["groups.later"]
    number = int(path.split("/")[-1])
    problem_of(await people.call("ada", "POST", SETS, json={"title": "x", "inverse_of": number}), 409)
    await people.do("ada", path, "rollback", reason="x", force=True)
    found = await people.ok("ada", "GET", "/v1/groups/later")
    assert (found["name"], found["lever"]) == ("Before", 0)
    problem_of(await people.call("ada", "GET", "/v1/groups/later-too"), 404)


async def test_treatments_that_others_made_for_an_offer_are_not_taken_back_with_it_unasked(
    people: People,
) -> None:
    offer = {"name": "Mine", "group": "cards", "status": "draft"}
    path = await people.draft("ada", ("offer/theirs-too", offer))
    await people.do("ada", path, "apply")
    treatment = {"channel": "web", "language": "en", "title": "Theirs"}
    await people.ok("cem", "PUT", "/v1/offers/theirs-too/treatments/banner", json=treatment)
    problem = problem_of(await people.act("ada", path, "rollback", reason="x"), 409)
    assert [error["field"] for error in problem["errors"]] == ["offers.theirs-too.treatments.banner"]
    removal = await people.draft("ada", ("offer/theirs-too", None))
    await people.do("ada", removal, "apply")
    problem_of(await people.call("ada", "GET", "/v1/offers/theirs-too"), 404)


async def test_an_inverse_is_checked_as_it_is_applied(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier version saved is kept, whatever new expressions may cost: so it can be brought back."""
    rule = {"name": "r", "tier": "eligibility", "when": "customer.known"}
    offer = {"name": "Old", "group": "cards", "status": "draft", "rules": [rule]}
    await people.ok("ada", "PUT", "/v1/offers/costly", json=offer)
    path = await people.draft("ada")
    await people.ok("ada", "PATCH", f"{path}/items/offer/costly", json={"rules": []})
    await people.do("ada", path, "apply")
    number = int(path.split("/")[-1])
    made = await people.ok("ada", "POST", SETS, json={"title": "Back", "inverse_of": number})
    back = f"{SETS}/{made['changeset_id']}"

    def too_much(*of: Any) -> Any:
        raise RuleError("costs too much")

    monkeypatch.setattr(Checker, "check_new", too_much)
    checked = await people.ok("ada", "POST", f"{back}/check", params={"placement": "home", "sample": 5})
    assert (checked["ok"], checked["errors"]) == (True, [])
    assert checked["simulation"]["placement"] == "home"
    await people.do("ada", back, "apply")
    assert (await people.ok("ada", "GET", "/v1/offers/costly"))["rules"][0]["name"] == "r"


async def test_offers_with_treatments_come_and_go_as_one(people: People) -> None:
    treatment = {"channel": "web", "language": "en", "title": "New"}
    path = await people.draft(
        "ada",
        ("offer/whole", {"name": "Whole", "group": "cards", "status": "draft"}),
        ("treatment/whole/banner", treatment),
    )
    await people.do("ada", path, "apply")
    assert (await people.ok("ada", "GET", "/v1/offers/whole"))["treatments"][0]["title"] == "New"
    gone = await people.draft("ada", ("offer/whole", None))
    assert (await people.ok("ada", "GET", f"{gone}/diff"))["summary"]["deleted"] == [
        "offers.whole",
        "offers.whole.treatments.banner",
    ]
    await people.do("ada", gone, "apply")
    problem_of(await people.call("ada", "GET", "/v1/offers/whole"), 404)
    await people.do("ada", gone, "rollback", reason="it was needed")
    assert (await people.ok("ada", "GET", "/v1/offers/whole"))["treatments"][0]["title"] == "New"


async def test_an_offer_that_was_ended_by_a_change_set_is_brought_back(people: People) -> None:
    path = await people.draft("ada")
    await people.ok("ada", "PATCH", f"{path}/items/offer/phone", json={"status": "ended"})
    await people.do("ada", path, "apply")
    assert (await people.ok("ada", "GET", "/v1/offers/phone"))["status"] == "ended"
    await people.do("ada", path, "rollback", reason="too early")
    assert (await people.ok("ada", "GET", "/v1/offers/phone"))["status"] == "live"


async def test_one_of_two_who_apply_at_once_does(people: People) -> None:
    path = await people.draft("ada", ("group/raced", group()))
    await people.do("ada", path, "submit")
    approved = await asyncio.gather(*(people.act(who, path, "approve") for who in ("bea", "cem")))
    assert sorted(response.status_code for response in approved) in ([200, 409], [200, 412])
    before = await people.api.state.catalogues.version()
    applied = await asyncio.gather(
        *(people.call(who, "POST", f"{path}/apply", json={}) for who in ("ada", "bea", "cem"))
    )
    assert sorted(response.status_code for response in applied) == [200, 409, 409]
    assert await people.api.state.catalogues.version() == before + 1


async def test_a_direct_change_at_the_same_time_is_never_overwritten(people: People) -> None:
    for turn in range(6):
        thing = f"racer-{turn}"
        await people.ok("ada", "PUT", f"/v1/groups/{thing}", json=group("Old"))
        path = await people.draft("ada")
        await people.ok("ada", "PATCH", f"{path}/items/group/{thing}", json={"name": "Set"})
        applied, direct = await asyncio.gather(
            people.call("ada", "POST", f"{path}/apply", json={}),
            people.call("cem", "PATCH", f"/v1/groups/{thing}", json={"lever": 5}),
        )
        assert direct.status_code == 200
        found = await people.ok("ada", "GET", f"/v1/groups/{thing}")
        assert found["lever"] == 5
        assert (applied.status_code, found["name"]) in ((200, "Set"), (409, "Old"))


async def test_the_trail_of_change_sets_only_grows(people: People) -> None:
    for statement in ("UPDATE changeset_steps SET author = 'x'", "DELETE FROM changeset_steps"):
        with pytest.raises(DBAPIError, match="audit trail"):
            async with people.api.state.engine.begin() as connection:
                await connection.execute(text(statement))


async def test_pages_of_change_sets(people: People) -> None:
    for number in range(3):
        await people.draft("ada", title=f"Page {number}")
    first = await people.ok("dan", "GET", SETS, params={"limit": 2})
    assert [one["title"] for one in first["changesets"]] == ["Page 2", "Page 1"]
    assert first["approvals"] == "off"
    second = await people.ok("dan", "GET", SETS, params={"limit": 1, "before": first["next"]})
    assert second["changesets"][0]["title"] == "Page 0"
    await people.draft("cem", ("group/own", group()), ("group/cards", None), title="Of cem")
    mine = await people.ok("cem", "GET", SETS, params={"mine": True, "state": "draft", "limit": 200})
    assert [one["author"] for one in mine["changesets"]] == ["cem"]
    assert mine["changesets"][0]["items"] == [
        {"kind": "group", "id": "cards", "removal": True},
        {"kind": "group", "id": "own", "removal": False},
    ]
    assert "submit" in mine["changesets"][0]["possible"]


async def test_policies_get_their_stages_without_a_change_set(strict: People) -> None:
    """Stages are tried out on a share of the customers, watched, and taken back by themselves."""
    body = {"policy": "random@1", "stage": "shadow"}
    await strict.ok("dan", "POST", "/v1/placements/home/policies", json=body)

    async def known() -> bool:
        found = await strict.ok("ada", "GET", "/v1/placements/home/policies")
        return any(p["policy"] == "random@1" and p["stage"] == "shadow" for p in found["policies"])

    await eventually(known, "the stage to be in force")
