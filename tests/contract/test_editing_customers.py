"""Editing customers without losing anything: what is read can be sent back, and only what is named changes."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from profiles.customer import Customer
from tests.support.api import Instance, Nextbest, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

MERGE = {"Content-Type": "application/merge-patch+json"}
RICH: dict[str, Any] = {
    "attributes": {"age": 41, "city": "Köln", "score": 0.5, "member": True, "big": 2**53 + 1, "zip": "08001"},
    "indicators": {"clv": 120.5, "spend": 3.0},
    "holdings": ["loan", "card"],
    "interests": {"golf": 0.75},
    "consents": {"marketing": ["email", "*"], "service": ["*"], "research": []},
    "objections": {"marketing": ["web"], "profiling": ["*"]},
}
ANY = {"If-Match": "*"}
CSV = {"Content-Type": "text/csv"}
ONE = "/v1/customers/rich"


async def upload(api: Instance, kind: str, text: str) -> None:
    """Import a file of which no row may be refused."""
    answer = await api.ok("POST", f"/v1/imports/{kind}", content=text.encode(), headers=CSV)
    assert answer["refused"] == 0, answer


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _rich(api: Instance) -> None:
    await api.ok("PUT", ONE, json=RICH)


async def read(api: Instance, path: str = ONE) -> tuple[dict[str, Any], dict[str, str]]:
    """The customer, and the headers that make a change conditional on that."""
    response = await api.call("GET", path)
    assert response.status_code == 200, response.text
    return response.json(), {"If-Match": response.headers["ETag"]}


async def test_what_is_read_can_be_sent_back(api: Instance) -> None:
    await upload(api, "propensities", "customer_id,offer_id,propensity\nrich,gold,0.123\n")
    await api.ok("PUT", "/v1/suppressions/robinson/rich", json={"reason": "asked"})
    long = "x" * 4000
    await upload(
        api,
        "customers",
        f"customer_id,attributes.Wohn Ort,note,indicators.n-1,consents.ads\nfiled,Köln,{long},1e300,web|!*\n",
    )
    for path in (ONE, "/v1/customers/filed"):
        before, tag = await read(api, path)
        for headers in ({}, tag):
            sent = await api.call("PUT", path, json=before, headers=headers)
            assert sent.status_code == 200, sent.text
            assert sent.headers["ETag"] == tag["If-Match"]
            assert await read(api, path) == (before, tag)
        patched = await api.call("PATCH", path, json=before, headers=tag)
        assert (patched.json(), patched.headers["ETag"]) == (before, tag["If-Match"])
    await api.call("DELETE", "/v1/suppressions/robinson/rich")


async def test_what_is_only_read_cannot_be_changed_here(api: Instance) -> None:
    before = await read(api)
    for wrong in ({"propensities": {"gold": 0.5}}, {"suppressions": [{"list_id": "x"}]}):
        field = next(iter(wrong))
        problem_of(await api.call("PUT", ONE, json=before[0] | wrong), 422, field)
        problem_of(await api.call("PATCH", ONE, json=wrong), 422, field)
    problem_of(await api.call("PATCH", ONE, json={"customer_id": "other"}), 422, "customer_id")
    problem_of(await api.call("PUT", ONE, json=before[0] | {"customer_id": "other"}), 422, "customer_id")
    assert await read(api) == before


async def test_a_patch_changes_what_it_names_and_nothing_else(api: Instance) -> None:
    before, tag = await read(api)
    patch = {
        "attributes": {"age": 42, "city": None, "new": "yes"},
        "indicators": {"clv": None},
        "holdings": ["card"],
        "consents": {"service": None},
        "objections": {"ads": ["web"]},
    }
    response = await api.call("PATCH", ONE, json=patch, headers=tag | MERGE, role="ops")
    attributes = {name: value for name, value in before["attributes"].items() if name != "city"}
    assert response.json() == before | {
        "attributes": attributes | {"age": 42, "new": "yes"},
        "indicators": {"spend": 3.0},
        "holdings": ["card"],
        "consents": {name: value for name, value in before["consents"].items() if name != "service"},
        "objections": before["objections"] | {"ads": ["web"]},
    }
    after = await read(api)
    assert after == (response.json(), {"If-Match": response.headers["ETag"]})
    problem_of(await api.call("PATCH", ONE, json=patch, headers=tag), 412)
    assert await read(api) == after


async def test_consents_and_objections_are_patched_apart(api: Instance) -> None:
    found = await api.ok("PATCH", ONE, json={"consents": {"marketing": None}})
    assert found["objections"] == {"marketing": ["web"], "profiling": ["*"], "research": ["*"]}
    assert found["consents"] == {"service": ["*"], "research": []}
    found = await api.ok("PATCH", ONE, json={"objections": {"research": None, "profiling": None}})
    assert found["objections"] == {"marketing": ["web"]}
    assert found["consents"] == {"service": ["*"]}


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"surprise": None}, "surprise"),
        ({"attributes": {"age": [1]}}, "attributes.age"),
        ({"attributes": {"min_gap_s": "an hour"}}, "attributes.min_gap_s"),
        ({"indicators": {"clv": "much"}}, "indicators.clv"),
        ({"holdings": [1]}, "holdings.0"),
        ({"objections": {"ads": ["nowhere"]}}, "objections.ads"),
        ([], "body"),
    ],
)
async def test_a_patch_that_is_wrong_changes_nothing(api: Instance, patch: Any, field: str) -> None:
    before = await read(api)
    problem_of(await api.call("PATCH", ONE, json=patch), 422, field)
    assert await read(api) == before


async def test_a_patch_does_not_check_what_it_does_not_name(shop: Nextbest) -> None:
    """An import may have stored a channel that no request can name."""
    stored = {"shops": ("tienda fisica", "!calle mayor"), "ads": ("web",)}
    customer = Customer("imported", {"age": 41}, {}, (), {}, stored)
    await shop.api.state.profiles.change_customer("imported", lambda before: customer)
    one = "/v1/customers/imported"
    for patch in (
        {"attributes": {"age": 42}},
        {"consents": {"ads": ["email"]}},
        {"objections": {"profiling": ["*"]}},
    ):
        response = await shop.api.call("PATCH", one, json=patch)
        assert response.status_code == 200, response.text
    found = response.json()
    assert found["attributes"] == {"age": 42}
    assert found["consents"] == {"shops": ["tienda fisica"], "ads": ["email"]}
    assert found["objections"] == {"shops": ["calle mayor"], "profiling": ["*"]}
    wrong = {"consents": {"shops": ["tienda fisica", "web"]}}
    problem_of(await shop.api.call("PATCH", one, json=wrong), 422, "consents.shops.0")
    assert "shops" not in (await shop.api.ok("PATCH", one, json={"consents": {"shops": None}}))["consents"]


async def test_whom_nobody_knows_cannot_be_patched(api: Instance) -> None:
    problem_of(await api.call("PATCH", "/v1/customers/nobody", json={}), 404)
    problem_of(await api.call("PATCH", ONE, json={}, role="frontend"), 403)
    problem_of(await api.call("GET", "/v1/customers/nobody"), 404)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_any_version_replaces_and_never_creates(api: Instance, method: str) -> None:
    await upload(api, "propensities", f"customer_id,offer_id,propensity\nscored-{method},gold,0.5\n")
    for who in (f"nobody-{method}", f"scored-{method}"):
        path = f"/v1/customers/{who}"
        before = await api.call("GET", path)
        body = {"attributes": {"age": 1}}
        problem_of(await api.call(method, path, json=body, headers=ANY), 412)
        now = await api.call("GET", path)
        assert now.status_code == before.status_code
        assert now.json().get("attributes") == before.json().get("attributes")
        await api.ok("PUT", path, json=body)
        changed = await api.call(method, path, json={"attributes": {"age": 2}}, headers=ANY)
        assert changed.status_code == 200, changed.text
        found, tag = await read(api, path)
        assert found["attributes"] == {"age": 2}
        assert tag["If-Match"] == changed.headers["ETag"]


async def test_patches_at_the_same_time_are_all_kept(shop: Nextbest) -> None:
    before, _ = await read(shop.api)
    async with shop.another() as other:
        await asyncio.gather(
            *(
                some.ok("PATCH", ONE, json={"attributes": {f"a{n}": n}, "interests": {f"i{n}": n}})
                for n, some in enumerate([shop.api, other] * 6)
            )
        )
    after, _ = await read(shop.api)
    assert after == before | {
        "attributes": before["attributes"] | {f"a{n}": n for n in range(12)},
        "interests": before["interests"] | {f"i{n}": n for n in range(12)},
    }


async def test_two_who_create_a_customer_at_once_erase_nothing(shop: Nextbest) -> None:
    async with shop.another() as other:
        for number in range(4):
            path = f"/v1/customers/new-{number}"
            answers = await asyncio.gather(
                shop.api.call("PUT", path, json={"attributes": {"a": 1}}),
                other.call("PUT", path, json={"attributes": {"b": 1}}),
            )
            assert sorted(answer.status_code for answer in answers) == [200, 409]
            found, _ = await read(shop.api, path)
            assert found["attributes"] in ({"a": 1}, {"b": 1})


async def test_a_put_that_erases_says_so_or_is_refused(api: Instance) -> None:
    before = await read(api)
    tag = before[1]
    bare = {"attributes": {"age": 42}}
    refused = problem_of(await api.call("PUT", ONE, json=bare), 409)
    fields = ["attributes", "indicators", "holdings", "interests", "consents", "objections"]
    assert [error["field"] for error in refused["errors"]] == fields
    assert {"city", "zip"} <= set(refused["errors"][0]["reason"].removeprefix("would lose ").split(", "))
    assert f"confirm_removal={','.join(fields)}" in refused["detail"]
    for words, headers in ((fields, {}), (fields, ANY), (fields[:-1], tag), ([], tag)):
        problem_of(
            await api.call("PUT", ONE, json=bare, params={"confirm_removal": words}, headers=headers), 409
        )
    unknown = {"confirm_removal": "everything"}
    problem_of(await api.call("PUT", ONE, json=bare, params=unknown, headers=tag), 422, "confirm_removal")
    old = {"If-Match": f'"{"0" * 24}"'}
    params = {"confirm_removal": ",".join(fields)}
    problem_of(await api.call("PUT", ONE, json=bare, params=params, headers=old), 412)
    problem_of(
        await api.call("PUT", ONE, json=bare, params=params, headers={"If-Match": "12"}), 422, "If-Match"
    )
    problem_of(await api.call("PUT", ONE, json=RICH, headers={"If-None-Match": "*"}), 412)
    assert await read(api) == before
    done = await api.call("PUT", ONE, json=bare, params=params, headers=tag)
    assert done.status_code == 200, done.text
    assert (await read(api))[0]["consents"] == {}


async def test_what_is_stored_is_not_refused_for_what_was_declared_since(api: Instance) -> None:
    await api.ok("PATCH", ONE, json={"attributes": {"shoe": "wide"}})
    await api.ok("PUT", "/v1/attributes/customer.shoe", json={"type": "number"})
    before, tag = await read(api)
    assert (await api.call("PUT", ONE, json=before, headers=tag)).status_code == 200
    assert (await api.ok("PATCH", ONE, json={"attributes": {"age": 50}}))["attributes"]["shoe"] == "wide"
    problem_of(await api.call("PATCH", ONE, json={"attributes": {"shoe": "broad"}}), 422, "attributes.shoe")
    await api.ok("DELETE", "/v1/attributes/customer.shoe")
