"""Registers: persons who must not be contacted, known by salted hashes of their id, telephone number or address."""

import io
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from sqlalchemy import text

from profiles import store_cache
from tests.support.api import CSV, Instance, Nextbest, decide, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

SALT = "grain"
PHONE = {"field": "phone", "form": "phone", "country_code": "34", "salt": SALT, "reason": "asked"}
PARQUET = {"Content-Type": "application/vnd.apache.parquet"}


def digest(value: str, salt: str = SALT) -> str:
    """The hash of a value, as the documentation tells to make it."""
    return sha256((salt + value).encode()).hexdigest()


async def fill(api: Instance, register_id: str, *values: str, until: str = "") -> Any:
    rows = "".join(f"{register_id},{digest(value)},{until}\n" for value in values)
    content = f"register_id,digest,until\n{rows}"
    return await api.ok("POST", "/v1/imports/registers", content=content.encode(), headers=CSV)


async def lists_of(api: Instance, customer_id: str) -> list[str]:
    """The lists that a customer is on, by the record that decisions use."""
    profile = await api.state.profiles.load(customer_id, api.state.numbers())
    return [] if profile is None else [entry.list_id for entry in profile.customer.suppressions or ()]


@pytest.fixture(scope="module", autouse=True)
def settled() -> Iterator[None]:
    """No read of a profile is under way when a register is changed here, so nothing has to be waited for."""
    patch = pytest.MonkeyPatch()
    patch.setattr(store_cache, "FILL_WITHIN_S", 0.0)
    yield
    patch.undo()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registered(shop: Nextbest) -> Instance:
    """A register of telephone numbers, with one of them."""
    await shop.api.ok("PUT", "/v1/registers/phones", json=PHONE)
    report = await fill(shop.api, "phones", "+34600111222")
    assert (report["loaded"], report["refused"]) == (1, 0)
    return shop.api


@pytest.mark.parametrize(
    ("number", "found"),
    [
        ("600111222", True),
        ("600 111-222", True),
        ("+34 600 111 222", True),
        ("0034600111222", True),
        (600111222, True),
        ("34600111222", True),
        ("34 600 111 222", True),
        (34600111222, True),
        ("0600111222", True),
        ("+34 0600 111 222", True),
        ("00 34 0600 111 222", True),
        ("600111223", False),
        ("+35600111222", False),
        ("34600111223", False),
        ("600.111.223", False),
        ("+34 (0)600 111 223", True),  # the 0 may be part of it or not
        (34600111223.5, True),  # no number of a telephone
        ("34600111223.0", True),
        ("no number", True),  # nobody knows if it is in the register
        ("12", True),
        ("", True),
        (None, True),
    ],
)
async def test_a_number_is_found_however_it_is_written(
    registered: Instance, number: Any, found: bool
) -> None:
    attributes = {} if number is None else {"phone": number}
    await registered.replace("/v1/customers/caller", json={"attributes": attributes})
    assert await lists_of(registered, "caller") == (["phones"] if found else [])


@pytest.mark.parametrize("number", ["06 1234 5678", "390612345678", "+39 06 1234 5678", "+39 0612345678"])
async def test_a_zero_that_is_part_of_a_number_is_looked_up_with_it(
    registered: Instance, number: str
) -> None:
    body = PHONE | {"country_code": "39", "field": "telefono", "without_value": "pass"}
    await registered.ok("PUT", "/v1/registers/numeri", json=body)
    await fill(registered, "numeri", "+390612345678")
    attributes = {"phone": "600111223", "telefono": number}
    await registered.replace("/v1/customers/caller", json={"attributes": attributes})
    assert await lists_of(registered, "caller") == ["numeri"]
    await registered.call("DELETE", "/v1/registers/numeri")


async def test_who_is_in_a_register_is_offered_nothing_and_an_explanation_says_so(
    registered: Instance,
) -> None:
    await registered.replace("/v1/customers/caller", json={"attributes": {"phone": "600111222"}})
    answer = await decide(registered, "caller", "home", dry_run=True, explain=True)
    assert answer["offers"] == []
    assert "phones" in str(answer)
    shown = await registered.ok("GET", "/v1/customers/caller")
    assert [(one["list_id"], one["reason"]) for one in shown["suppressions"]] == [("phones", "asked")]
    held = await registered.ok("GET", "/v1/customers/caller/export")
    assert [one["list_id"] for one in held["registers"]] == ["phones"]
    assert await lists_of(registered, "without a record") == []


async def test_a_register_of_ids_holds_for_customers_without_a_record(registered: Instance) -> None:
    body = {"field": "customer_id", "form": "id", "salt": "", "reason": "told"}
    await registered.ok("PUT", "/v1/registers/ids", json=body)
    content = f"register_id,digest\nids,{digest('stranger', '').upper()}\n"
    await registered.ok("POST", "/v1/imports/registers", content=content.encode(), headers=CSV)
    assert await lists_of(registered, "stranger") == ["ids"]
    assert await lists_of(registered, "another stranger") == []
    await registered.call("DELETE", "/v1/registers/ids")
    assert await lists_of(registered, "stranger") == []
    problem_of(await registered.call("GET", "/v1/registers/ids"), 404)


async def test_an_address_is_found_in_lower_case_and_a_lacking_one_may_pass(registered: Instance) -> None:
    body = {"field": "email", "form": "email", "salt": SALT, "reason": "told", "without_value": "pass"}
    await registered.ok("PUT", "/v1/registers/mails", json=body)
    table = pa.table({"register_id": ["mails"] * 2, "digest": [digest("ann@example.org")] * 2})
    out = io.BytesIO()
    pq.write_table(table, out)
    await registered.ok("POST", "/v1/imports/registers", content=out.getvalue(), headers=PARQUET)
    for address, found in (
        (" Ann@Example.org ", True),
        ("bob@example.org", False),
        ("bob", True),
        (None, False),
    ):
        attributes = {"phone": "600111229"} | ({} if address is None else {"email": address})
        await registered.replace("/v1/customers/mailed", json={"attributes": attributes})
        assert await lists_of(registered, "mailed") == (["mails"] if found else []), address
    await registered.call("DELETE", "/v1/registers/mails")


async def test_an_entry_ends_by_itself(registered: Instance) -> None:
    await fill(registered, "phones", "+34600111233", until="2020-01-01T00:00:00Z")
    await registered.replace("/v1/customers/past", json={"attributes": {"phone": "600111233"}})
    assert (await decide(registered, "past", "home"))["offers"]
    await fill(registered, "phones", "+34600111233")

    assert not (await decide(registered, "past", "home"))["offers"]


async def test_rows_that_cannot_be_loaded_are_told(registered: Instance) -> None:
    content = f"register_id,digest\nnone,{digest('x')}\nphones,abc\nphones,{digest('+34600111244')}\n"
    report = await registered.ok("POST", "/v1/imports/registers", content=content.encode(), headers=CSV)
    assert (report["loaded"], report["refused"]) == (1, 2)
    assert [(one["row"], one["field"]) for one in report["refusals"]] == [(1, "register_id"), (2, "digest")]


async def test_what_hashes_were_made_of_cannot_change_under_them(registered: Instance) -> None:
    for change in ({"salt": "other"}, {"field": "mobile"}, {"form": "id"}, {"country_code": "35"}):
        problem = problem_of(await registered.call("PUT", "/v1/registers/phones", json=PHONE | change), 409)
        assert "entries" in problem["detail"]
    changed = await registered.ok("PUT", "/v1/registers/phones", json=PHONE | {"reason": "the law"})
    assert (changed["reason"], changed["entries"] > 0) == ("the law", True)
    await registered.ok("PUT", "/v1/registers/phones", json=PHONE)
    everything = await registered.call("GET", "/v1/registers")
    assert SALT not in everything.text
    assert [one["register_id"] for one in everything.json()["registers"]] == ["phones"]
    problem_of(await registered.call("PUT", "/v1/registers/x", json=PHONE | {"country_code": "034"}), 422)


async def test_what_is_read_can_be_sent_back(registered: Instance) -> None:
    read = await registered.ok("GET", "/v1/registers/phones")
    assert read["entries"] > 0
    assert "salt" not in read
    same = await registered.ok("PUT", "/v1/registers/phones", json=read)
    assert same == read | {"author": same["author"]}
    changed = await registered.ok(
        "PUT", "/v1/registers/phones", json=read | {"reason": "the law", "entries": 0}
    )
    assert (changed["reason"], changed["entries"]) == ("the law", read["entries"])
    await registered.replace("/v1/customers/caller", json={"attributes": {"phone": "600111222"}})
    assert await lists_of(registered, "caller") == ["phones"], "the salt is kept"
    await registered.ok("PUT", "/v1/registers/phones", json=PHONE)  # with the salt that it has: else a 409
    elsewhere = await registered.call("PUT", "/v1/registers/mobiles", json=read)
    problem_of(elsewhere, 422, "register_id")


async def test_a_new_register_needs_a_salt_and_one_without_entries_may_get_another(
    registered: Instance,
) -> None:
    body = {name: value for name, value in PHONE.items() if name != "salt"}
    problem = problem_of(await registered.call("PUT", "/v1/registers/new", json=body), 422, "salt")
    assert "'new' is new" in problem["detail"]
    problem_of(await registered.call("GET", "/v1/registers/new"), 404)
    for sent in (PHONE | {"salt": ""}, PHONE, body):
        await registered.ok("PUT", "/v1/registers/new", json=sent)
    await fill(registered, "new", "+34600111255")
    await registered.replace("/v1/customers/caller", json={"attributes": {"phone": "600111255"}})
    assert await lists_of(registered, "caller") == ["new"]
    await registered.call("DELETE", "/v1/registers/new")


async def test_no_value_is_stored_with_its_hash(registered: Instance) -> None:
    async with registered.state.engine.connect() as connection:
        query = text("SELECT count(*) FROM register_entries e WHERE e::text LIKE '%600111%'")
        assert await connection.scalar(query) == 0


async def test_each_change_of_a_register_is_in_the_trail_without_its_salt(registered: Instance) -> None:
    path, body = "/v1/registers/trailed", PHONE | {"field": "telefoon", "without_value": "pass"}
    for change in ({}, {}, {"reason": "the law"}):
        await registered.ok("PUT", path, json=body | change, role="ops")
    await fill(registered, "trailed", "+34600111255")
    problem_of(await registered.call("PUT", path, json=body | {"salt": "other"}, role="ops"), 409)
    await registered.call("DELETE", path, params={"reason": "a newer one"}, role="ops")
    problem_of(await registered.call("DELETE", path, role="ops"), 404)
    found = (await registered.ok("GET", "/v1/privacy/actions", role="ops"))["actions"]
    ours = [one for one in found if one["details"].get("register") == "trailed"]
    assert [(one["action"], one["author"], one["reason"], one["details"]) for one in reversed(ours)] == [
        ("register_stored", "test ops", "", {"register": "trailed", "new": True, "changed": []}),
        ("register_stored", "test ops", "", {"register": "trailed", "new": False, "changed": ["reason"]}),
        ("register_deleted", "test ops", "a newer one", {"register": "trailed", "entries": 1}),
    ]
    imported = next(one for one in found if one["action"] == "imported")
    assert (imported["author"], imported["details"]["kind"]) == ("test admin", "registers")
    assert SALT not in str(found)
