"""Customers who are searched for by id, alias and what identifies them, and read under an alias."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from app.api.customers.search_routes import SEARCHES_PER_MINUTE
from app.api.customers.search_schemas import MAX_CUSTOMERS
from app.keys import Role
from app.worker.identifiers import IdentifierJob
from decisioning.catalog.kinds import MAX_IDENTIFIERS
from decisioning.catalog.store import CatalogueStore
from profiles.store_identifiers import IdentifierIndexes
from tests.support.api import CSV, Instance, Nextbest, decide, problem_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDENTIFIER = {"type": "string", "identifier": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(shop: Nextbest) -> AsyncIterator[Instance]:
    """The shop, whose customers are known by telephone numbers, contracts, and what is sensitive."""
    for name in ("phone", "contract"):
        await shop.api.ok("PUT", f"/v1/attributes/customer.{name}", json=IDENTIFIER)
    sensitive = IDENTIFIER | {"classification": "sensitive"}
    await shop.api.ok("PUT", "/v1/attributes/customer.passport", json=sensitive)
    await shop.api.ok("PUT", "/v1/attributes/customer.city", json={"type": "string"})
    await keep(shop.api)
    yield shop.api


async def keep(api: Instance) -> None:
    """Do a round of the worker's job."""
    await IdentifierJob(IdentifierIndexes(api.state.engine), CatalogueStore(api.state.engine)).round()


async def put(api: Instance, customer_id: str, **attributes: Any) -> None:
    await api.ok("PUT", f"/v1/customers/{customer_id}", json={"attributes": attributes})


async def search(api: Instance, asked: str, role: Role = "agent") -> dict[str, list[str]]:
    """By what each customer was found who was."""
    found = await api.ok("POST", "/v1/customers/search", json={"text": asked}, role=role)
    return {one["customer_id"]: one["found_by"] for one in found["customers"]}


def visitor(name: str) -> str:
    """A visitor's id as events and decisions name it."""
    return f"visitor:{name:->16}"


async def merge(api: Instance, customer_id: str, visitor_id: str) -> None:
    await api.ok("POST", f"/v1/customers/{customer_id}/merge", json={"visitor_id": visitor_id})


async def test_a_customer_is_found_by_each_identifier_and_by_nothing_else(api: Instance) -> None:
    await put(api, "1025", phone="+34 600 111 222", contract="K-1", city="Lugo")
    for asked, by in (
        ("1025", "customer_id"),
        ("+34 600 111 222", "customer.phone"),
        ("K-1", "customer.contract"),
    ):
        assert await search(api, asked) == {"1025": [by]}
        assert await search(api, f"  {asked}\u00a0") == {"1025": [by]}, "blanks around it say nothing"
    for asked in ("Lugo", "+34 600 111 22", "k-1", "102", "%", "' OR true --"):
        assert await search(api, asked) == {}


async def test_what_is_sensitive_is_searched_for_those_alone_who_may_see_it(api: Instance) -> None:
    await put(api, "sens", passport="P-77", phone="77")
    assert await search(api, "P-77", "ops") == {"sens": ["customer.passport"]}
    assert await search(api, "P-77", "agent") == {}
    assert await search(api, "77", "agent") == {"sens": ["customer.phone"]}


async def test_several_are_told_apart_by_their_ids_and_not_more_than_the_most_are_listed(
    api: Instance,
) -> None:
    await put(api, "flat-1", phone="981")
    await put(api, "981", phone="other")
    assert list(await search(api, "981")) == ["981", "flat-1"]
    rows = "\n".join(f"many-{n:02},982" for n in range(MAX_CUSTOMERS + 1))
    content = f"customer_id,attributes.phone\n{rows}\n".encode()
    await api.ok("POST", "/v1/imports/customers", content=content, headers=CSV)
    found = await api.ok("POST", "/v1/customers/search", json={"text": "982"}, role="agent")
    assert [one["customer_id"] for one in found["customers"]] == [
        f"many-{n:02}" for n in range(MAX_CUSTOMERS)
    ]
    assert found["more"]


async def test_a_changed_value_is_found_at_once_and_the_earlier_one_is_not(api: Instance) -> None:
    await put(api, "moves", phone="1-old")
    await api.ok("PATCH", "/v1/customers/moves", json={"attributes": {"phone": "1-new"}})
    assert (await search(api, "1-old"), list(await search(api, "1-new"))) == ({}, ["moves"])
    await api.ok("PATCH", "/v1/customers/moves", json={"attributes": {"phone": None}})
    assert await search(api, "1-new") == {}


async def test_an_alias_is_the_customer_in_the_end_for_reads_searches_and_decisions(api: Instance) -> None:
    await put(api, "ida", phone="600-ida")
    first, second = visitor("first"), visitor("second")
    assert (await api.call("GET", f"/v1/customers/{first}")).status_code == 404
    assert await search(api, first) == {}
    await merge(api, second, first)
    await merge(api, "ida", second)
    own = await api.call("GET", "/v1/customers/ida")
    for alias in (first, second):
        read = await api.call("GET", f"/v1/customers/{alias}", role="scientist")
        assert read.json() == own.json()
        assert read.json()["customer_id"] == "ida"
        assert read.headers["ETag"] == own.headers["ETag"]
        assert await search(api, alias) == {"ida": ["alias"]}
        assert await search(api, alias.removeprefix("visitor:")) == {"ida": ["alias"]}
    # What is changed since is seen under the alias too, and the alias itself has no record to change.
    await api.ok("PATCH", "/v1/customers/ida", json={"attributes": {"phone": "600-new"}})
    assert (await api.ok("GET", f"/v1/customers/{first}"))["attributes"] == {"phone": "600-new"}
    problem_of(await api.call("PATCH", f"/v1/customers/{first}", json={"attributes": {"phone": "1"}}), 404)
    problem_of(await api.call("PUT", f"/v1/customers/{first}", json=read.json()), 422, "customer_id")
    assert (await decide(api, first))["offers"]


async def test_whoever_was_erased_is_found_by_nothing(api: Instance) -> None:
    for name, kept_out in (("gone", True), ("back", False)):
        await put(api, name, phone=f"600-{name}")
        await merge(api, name, visitor(name))
        await api.ok("POST", f"/v1/customers/{name}/erase", json={"reason": "asked", "keep_out": kept_out})
        for asked in (name, f"600-{name}", visitor(name)):
            assert await search(api, asked, "ops") == {}, (asked, kept_out)
        problem_of(await api.call("GET", f"/v1/customers/{visitor(name)}"), 404)
    # Whoever is kept out is on a list, and found by it as little.
    await api.ok("PUT", "/v1/suppressions/robinson/gone", json={"reason": "asked"})
    assert await search(api, "gone", "ops") == {}


async def test_who_has_no_record_but_something_else_is_found_by_the_id(api: Instance) -> None:
    await api.ok("PUT", "/v1/suppressions/robinson/listed", json={"reason": "asked"})
    content = b"customer_id,offer_id,propensity\nscored,gold,0.5\n"
    await api.ok("POST", "/v1/imports/propensities", content=content, headers=CSV)
    for name in ("listed", "scored"):
        assert await search(api, name) == {name: ["customer_id"]}


async def test_what_is_declared_anew_is_named_until_a_worker_has_made_its_index(api: Instance) -> None:
    await put(api, "mails", mail="a@example.org")
    await api.ok("PUT", "/v1/attributes/customer.mail", json=IDENTIFIER)
    asked = {"json": {"text": "a@example.org"}, "role": "agent"}
    found = await api.ok("POST", "/v1/customers/search", **asked)
    assert (found["customers"], found["pending"]) == ([], ["customer.mail"])
    await keep(api)
    found = await api.ok("POST", "/v1/customers/search", **asked)
    assert (len(found["customers"]), found["pending"]) == (1, [])
    await api.ok("PATCH", "/v1/attributes/customer.mail", json={"identifier": False})
    assert await search(api, "a@example.org") == {}
    await api.ok("DELETE", "/v1/attributes/customer.mail")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("customer.visits", {"type": "int", "identifier": True}, "type"),
        ("context.number", {"type": "string", "identifier": True}, "identifier"),
        ("customer.home.number", {"type": "string", "identifier": True}, "identifier"),
        ("customer.number", {"type": "string", "identifier": "yes"}, "identifier"),
    ],
)
async def test_what_cannot_identify_is_refused(
    api: Instance, path: str, body: dict[str, Any], field: str
) -> None:
    problem_of(await api.call("PUT", f"/v1/attributes/{path}", json=body), 422, field)
    problem_of(await api.call("GET", f"/v1/attributes/{path}"), 404)


async def test_no_more_identifiers_than_there_may_be(api: Instance) -> None:
    more = [f"customer.id_{n}" for n in range(MAX_IDENTIFIERS - 3)]
    for path in more:
        await api.ok("PUT", f"/v1/attributes/{path}", json=IDENTIFIER)
    refused = await api.call("PUT", "/v1/attributes/customer.one_more", json=IDENTIFIER)
    problem_of(refused, 422, "identifier")
    for path in more:
        await api.ok("DELETE", f"/v1/attributes/{path}")


@pytest.mark.parametrize(
    "body",
    [{}, {"text": ""}, {"text": " \u00a0"}, {"text": "x" * 129}, {"text": "a\nb"}, {"text": 7}, {"q": "x"}],
)
async def test_what_cannot_be_searched_for_is_refused(api: Instance, body: dict[str, Any]) -> None:
    field = "q" if "q" in body else "text"
    refused = await api.call("POST", "/v1/customers/search", json=body, role="agent")
    problem = problem_of(refused, 422)
    assert field in [error["field"] for error in problem["errors"]]


async def test_a_customer_may_have_the_id_search(api: Instance) -> None:
    await put(api, "search", phone="600-search")
    assert (await api.ok("GET", "/v1/customers/search"))["attributes"] == {"phone": "600-search"}
    assert await search(api, "search") == {"search": ["customer_id"]}


async def test_whoever_tries_number_after_number_has_to_wait(shop: Nextbest, api: Instance) -> None:
    async with shop.another() as other:
        # As many as in a minute, and what takes a few seconds more: time passes here, too.
        other.state.searches.take("key:test agent", SEARCHES_PER_MINUTE, SEARCHES_PER_MINUTE + 50)
        refused = await other.call("POST", "/v1/customers/search", json={"text": "1025"}, role="agent")
        problem_of(refused, 429)
        assert int(refused.headers["Retry-After"]) >= 1
        assert await search(other, "1025", "ops"), "others do not wait"

        async def let_in() -> bool:
            answer = await other.call("POST", "/v1/customers/search", json={"text": "1025"}, role="agent")
            return answer.status_code == 200

        await eventually(let_in, "the next search to be let in")
