"""Customers over HTTP, and consent above all: a change that was acknowledged is in force everywhere."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import CSV, Instance, Nextbest, decide, problem_of, traces

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instances(shop: Nextbest) -> AsyncIterator[tuple[Instance, Instance]]:
    """Two API instances, and the placement `only` in which nothing but `phone` (with consent) can be offered."""
    treatment = {"channel": "only", "title": "Phone"}
    await shop.api.ok(
        "PUT", "/v1/offers/phone", json={"name": "x", "group": "cards", "requires_consent": "marketing"}
    )
    await shop.api.ok("PUT", "/v1/offers/phone/treatments/only", json=treatment)
    await shop.api.ok("PUT", "/v1/placements/only", json={"channel": "only", "deadline_ms": 5000})
    async with shop.another() as other:
        yield shop.api, other


async def offered(instance: Instance, customer_id: str, **fields: Any) -> bool:
    """True if the offer that needs consent is made."""
    answer = await decide(instance, customer_id, "only", **fields)
    assert answer["degraded"] == []
    return bool(answer["offers"])


async def test_a_customer_is_read_as_it_was_stored(api: Instance) -> None:
    customer = {
        "attributes": {"age": 35, "vip": True, "city": "Zürich 💥", "empty": "", "big": 1e22},
        "indicators": {"spend": -3.5, "n": 0},
        "holdings": ["card", "a|b", "ü", '{"x"}'],
        "interests": {"tea": 0.5},
        "consents": {"marketing": ["web", "*"], "research": []},
        "household_id": "H-1",
    }
    for body in (customer, {}, customer):
        assert await api.ok("PUT", "/v1/customers/ann", json=body, role="ops") == {"customer_id": "ann"}
    found = await api.ok("GET", "/v1/customers/ann", role="scientist")
    others = {"customer_id": "ann", "propensities": {}, "suppressions": [], "objections": {"research": ["*"]}}
    assert found == others | customer
    await api.ok("PUT", "/v1/customers/ann", json={})
    found = await api.ok("GET", "/v1/customers/ann")
    assert not any(found[name] for name in customer)


async def test_a_customer_who_is_not_there(api: Instance) -> None:
    problem_of(await api.call("GET", "/v1/customers/nobody"), 404)


async def test_a_refused_change_leaves_the_customer_as_before(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/customers/kept", json={"consents": {"marketing": []}})
    before = await traces(shop)
    for consents in (
        {"marketing": "*"},
        {"marketing": ["a b"]},
        {"": ["*"]},
        {"marketing": [None]},
        ["*"],
        None,
    ):
        response = await shop.api.call("PUT", "/v1/customers/kept", json={"consents": consents})
        assert problem_of(response, 422)["errors"][0]["field"].startswith("consents")
    assert await traces(shop) == before


async def test_no_record_is_no_consent(instances: tuple[Instance, Instance]) -> None:
    for instance in instances:
        assert not await offered(instance, "stranger")
        assert not await offered(instance, "stranger")


async def test_consent_and_its_withdrawal_are_in_force_at_once(instances: tuple[Instance, Instance]) -> None:
    """Whichever instance changes it, and whatever is cached: the very next decision of each instance knows."""
    for turn in range(6):
        writer, reader = instances[turn % 2], instances[(turn + turn // 2) % 2]
        await writer.ok("PUT", "/v1/customers/fickle", json={"consents": {"marketing": ["only"]}})
        assert await offered(reader, "fickle")
        assert await offered(writer, "fickle", dry_run=True)
        await writer.ok("PUT", "/v1/customers/fickle", json={"consents": {"marketing": ["other"]}})
        assert not await offered(reader, "fickle")
        assert not await offered(writer, "fickle", dry_run=True)


async def test_withdrawal_by_import_is_in_force_at_once(instances: tuple[Instance, Instance]) -> None:
    writer, reader = instances
    for consents, expected in (
        *(
            ("*", True),
            ("none", False),
            ("only", True),
            ("", True),
            ("web", False),
            ("*", True),
            ("!only", False),
        ),
        *(("*", False), ("only", True), ("!*", False)),
    ):
        content = f"customer_id,consents.marketing\nfiled,{consents}\n"
        await writer.ok("POST", "/v1/imports/customers", content=content, headers=CSV)
        assert await offered(reader, "filed") == expected


async def test_withdrawal_under_a_storm_of_decisions(instances: tuple[Instance, Instance]) -> None:
    """Readers that refill the cache all the time must not bring back what has been replaced."""
    writer, reader = instances
    await writer.ok("PUT", "/v1/customers/stormy", json={"consents": {"marketing": ["*"]}})
    stop = asyncio.Event()

    async def ask_on(instance: Instance) -> None:
        while not stop.is_set():
            await decide(instance, "stormy", "only")

    async with asyncio.TaskGroup() as readers:
        for instance in instances * 4:
            readers.create_task(ask_on(instance))
        for turn in range(10):
            consents = {"marketing": ["*"] if turn % 2 else []}
            await writer.ok("PUT", "/v1/customers/stormy", json={"consents": consents})
            assert await offered(reader, "stormy", dry_run=True) == bool(turn % 2)
        stop.set()


async def test_consent_is_by_channel_and_purpose(instances: tuple[Instance, Instance]) -> None:
    for consents, expected in (
        ({"marketing": ["only"]}, True),
        ({"marketing": ["*"]}, True),
        ({"marketing": ["mail", "only"]}, True),
        ({"marketing": []}, False),
        ({"marketing": ["on"]}, False),
        ({"Marketing": ["*"]}, False),
        ({"research": ["*"]}, False),
        ({}, False),
    ):
        await instances[0].ok("PUT", "/v1/customers/choosy", json={"consents": consents})
        assert await offered(instances[0], "choosy") == expected


async def test_without_a_cache_nothing_is_acknowledged(shop: Nextbest) -> None:
    """A change that could not clear the cache might not be in force: it is not acknowledged, and nothing is changed."""
    await shop.api.ok("PUT", "/v1/customers/ann", json={"consents": {"marketing": ["*"]}})
    before = await traces(shop)
    async with shop.another(redis_url="redis://127.0.0.1:1/0") as deaf:
        response = await deaf.call("PUT", "/v1/customers/ann", json={})
        problem_of(response, 503)
        assert response.headers["Retry-After"]
        csv = "customer_id\nann\n"
        problem_of(await deaf.call("POST", "/v1/imports/customers", content=csv, headers=CSV), 503)
    assert await traces(shop) == before
