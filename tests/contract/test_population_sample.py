"""Samples of many customers: a few pages are read, and the number of all is estimated."""

from dataclasses import replace
from itertools import pairwise

import pytest
from sqlalchemy import text

from profiles import store_sample
from profiles.store_sample import sample_profiles
from tests.support.api import Nextbest

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS, SIZE = 6000, 60


async def run(shop: Nextbest, statement: str) -> None:
    async with shop.api.state.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text(statement))


async def test_of_many_customers_some_pages_are_read(shop: Nextbest, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = shop.api.state.engine
    await run(
        shop,
        "INSERT INTO customers (customer_id, attributes)"
        f" SELECT 'many-' || n, jsonb_build_object('n', n) FROM generate_series(1, {CUSTOMERS}) AS n",
    )
    await run(
        shop,
        "INSERT INTO propensities (customer_id, scores)"
        " SELECT customer_id, '{\"gold\": 0.25}' FROM customers WHERE customer_id LIKE 'many-%'",
    )
    _, exact = await sample_profiles(engine, {"gold": 0}, SIZE)
    assert exact >= CUSTOMERS

    monkeypatch.setattr(store_sample, "EXACT", 1000)
    await run(shop, "ANALYZE customers")
    found, total = await sample_profiles(engine, {"gold": 0}, SIZE, seed=3)
    assert total == pytest.approx(exact, rel=0.1)
    assert SIZE / 3 < len(found) <= SIZE
    ids = [profile.customer.customer_id for profile in found]
    assert len({*ids}) == len(ids)
    assert all(
        profile.propensities.tolist() == [0.25] for profile in found if "many" in profile.customer.customer_id
    )
    numbers = sorted(int(one.removeprefix("many-")) for one in ids if one.startswith("many-"))
    # Who was stored side by side is not drawn together: of rows in a page one in ten is.
    assert sum(b - a == 1 for a, b in pairwise(numbers)) < len(numbers) / 2
    again, _ = await sample_profiles(engine, {"gold": 0}, SIZE, seed=3)
    assert [profile.customer.customer_id for profile in again] == ids
    others, _ = await sample_profiles(engine, {"gold": 0}, SIZE, seed=4)
    assert [profile.customer.customer_id for profile in others] != ids


async def test_the_facts_of_a_sample_are_those_of_whole_profiles(shop: Nextbest) -> None:
    engine = shop.api.state.engine
    record = {
        "attributes": {"age": 40},
        "indicators": {"clv": 0.5},
        "holdings": ["card"],
        "interests": {"travel": 1},
    }
    await shop.api.ok("PUT", "/v1/customers/with-all", json=record | {"consents": {"marketing": ["web"]}})
    whole, total = await sample_profiles(engine, {"gold": 0}, 2 * CUSTOMERS)
    facts, counted = await sample_profiles(engine, None, 2 * CUSTOMERS)
    assert (counted, len(facts)) == (total, len(whole))
    by_id = {profile.customer.customer_id: profile for profile in facts}
    assert any(profile.propensities.size for profile in whole)
    for profile in whole:
        found = by_id[profile.customer.customer_id]
        assert found.customer == replace(profile.customer, consents={}, suppressions=())
        assert not found.propensities.size
    assert by_id["with-all"].customer.indicators == {"clv": 0.5}


async def test_a_large_part_is_drawn_of_all(shop: Nextbest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sample, "EXACT", 1000)
    found, total = await sample_profiles(shop.api.state.engine, {}, CUSTOMERS // 2)
    assert CUSTOMERS / 3 < len(found) <= CUSTOMERS // 2 < total
    whole, total = await sample_profiles(shop.api.state.engine, {}, 2 * CUSTOMERS)
    assert len(whole) == pytest.approx(total, rel=0.1)


async def test_without_an_estimate_all_are_counted(shop: Nextbest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sample, "EXACT", 1000)
    _, exact = await sample_profiles(shop.api.state.engine, {}, SIZE)
    monkeypatch.setattr(store_sample, "_ESTIMATE", text("SELECT -1"))
    _, counted = await sample_profiles(shop.api.state.engine, {}, SIZE)
    assert counted >= CUSTOMERS
    assert counted == pytest.approx(exact, rel=0.1)
