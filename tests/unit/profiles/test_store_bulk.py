"""Whole files into real servers, from one importer and from several at once."""

import asyncio
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.customer import TOMBSTONE, Customer, Profile, encode_profile
from profiles.importing.run import open_customers, open_propensities
from profiles.store import ProfileStore
from profiles.store_bulk import BulkLoader
from storage.errors import RedisUnavailable
from tests.support.customers import store_customer
from tests.support.profile_keys import key_of

OFFERS = [f"o{number}" for number in range(20)]


@pytest.fixture(autouse=True)
async def offers_alone(engine: AsyncEngine) -> None:
    """Each test begins with all offers, and without customers."""
    async with engine.begin() as connection:
        for offer_id in OFFERS:
            insert = "INSERT INTO offers (offer_id) VALUES (:id) ON CONFLICT DO NOTHING"
            await connection.execute(text(insert), {"id": offer_id})
        await connection.execute(text("TRUNCATE customers, propensities"))


@pytest.fixture
async def loader(engine: AsyncEngine, store: ProfileStore) -> BulkLoader:
    return BulkLoader(engine, store.cache)


async def query(engine: AsyncEngine, statement: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


async def test_customers_are_loaded_as_they_are_read(loader: BulkLoader, store: ProfileStore) -> None:
    data = (
        "customer_id,age,city,vip,indicators.clv,interests.golf,holdings,consents.ads,consents.calls\n"
        'c1,41,"K""öln\n\\",true,1.5,0.25,"loan|a""b\\|{x},y|NULL",email|web,*\n'
        "c2,,,,,,,,\n"
        "c3,4.0,x,no,1e300,,,|,\n"
        ",1,,,,,,,\n"
    )
    report = await loader.load(open_customers(data.encode(), "csv"))
    assert (report.rows, report.loaded, report.refused) == (4, 3, 1)
    c1 = Customer(
        "c1",
        {"age": 41, "city": 'K"öln\n\\', "vip": True},
        {"clv": 1.5},
        ("loan", 'a"b\\', "{x},y", "NULL"),
        {"golf": 0.25},
        {"ads": ("email", "web"), "calls": ("*",)},
    )
    c3 = Customer("c3", {"age": 4.0, "city": "x", "vip": "no"}, {"clv": 1e300}, (), {}, {})
    for expected in (c1, Customer("c2", {}, {}, (), {}, {}), c3):
        profile = await store.load(expected.customer_id, {})
        assert profile is not None
        assert profile.customer == expected


async def test_a_record_is_replaced_except_for_consents_and_the_last_row_wins(
    loader: BulkLoader, store: ProfileStore
) -> None:
    await loader.load(open_customers(b"customer_id,age,consents.ads\nc1,1,*\nc2,2,*\n", "csv"))
    report = await loader.load(open_customers(b"customer_id,city\nc1,a\nc2,b\nc1,c\n", "csv"))
    assert report.loaded == 3
    for customer_id, city in (("c1", "c"), ("c2", "b")):
        profile = await store.load(customer_id, {})
        assert profile is not None
        assert profile.customer == Customer(customer_id, {"city": city}, {}, (), {}, {"ads": ("*",)})


async def test_propensities_are_merged(loader: BulkLoader, store: ProfileStore, engine: AsyncEngine) -> None:
    head = "customer_id,offer_id,propensity\n"
    await loader.load(open_propensities(f"{head}c1,o1,0.1\nc1,o2,0.2\nc2,o1,0.5\n".encode(), OFFERS, "csv"))
    data = f"{head}c1,o2,0.9\nc3,o3,1e-7\nc1,o3,0.3\nc1,o2,0.25\n".encode()
    report = await loader.load(open_propensities(data, OFFERS, "csv"))
    assert report.loaded == 4
    assert dict(await query(engine, "SELECT customer_id, scores FROM propensities")) == {
        "c1": {"o1": 0.1, "o2": 0.25, "o3": 0.3},
        "c2": {"o1": 0.5},
        "c3": {"o3": 1e-7},
    }
    numbers = await store.offer_numbers()
    profile = await store.load("c1", numbers)
    assert profile is not None
    np.testing.assert_array_equal(
        profile.dense(np.array([numbers["o3"], numbers["o9"], numbers["o2"]], np.uint32)),
        np.array([0.3, np.nan, 0.25], np.float32),
    )


async def test_offers_with_any_name(loader: BulkLoader, engine: AsyncEngine) -> None:
    offers = ['a"b', "c\\d", "e,f", "ü\n"]
    columns = {"customer_id": ["x"] * 4, "offer_id": offers, "propensity": [0.5] * 4}
    out = pa.BufferOutputStream()
    pa.parquet.write_table(pa.table(columns), out)
    report = await loader.load(open_propensities(out.getvalue().to_pybytes(), offers, "parquet"))
    assert report.refused == 1  # white space around a cell does not count, so that the last one is not met
    ((scores,),) = await query(engine, "SELECT scores FROM propensities")
    assert scores == dict.fromkeys(offers[:3], 0.5)


async def test_progress_and_parts(
    loader: BulkLoader, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profiles.store_bulk.MAX_CUSTOMERS", 7)
    rows = "".join(f"c{number % 50},o{number % 20},0.5\n" for number in range(1000))
    seen: list[tuple[int, int]] = []
    run = open_propensities(f"customer_id,offer_id,propensity\n{rows}".encode(), OFFERS, "csv")
    report = await loader.load(run, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1000, 1000) == (report.rows, report.loaded)
    assert await query(engine, "SELECT count(*), count(DISTINCT scores::text) FROM propensities") == [
        (50, 10)
    ]


async def test_a_load_clears_the_cache_of_those_it_changes(loader: BulkLoader, cache: Redis) -> None:
    for customer_id in ("c1", "c2", "c3"):
        await cache.set(key_of(customer_id), encode_profile(Profile.unknown(customer_id)))
    await loader.load(open_customers(b"customer_id\nc1\n", "csv"))
    data = b"customer_id,offer_id,propensity\nc2,o1,0.5\nc3,o1,7\n"
    await loader.load(open_propensities(data, OFFERS, "csv"))
    assert await cache.get(key_of("c1")) == TOMBSTONE
    assert await cache.get(key_of("c2")) == TOMBSTONE
    assert await cache.get(key_of("c3")) == encode_profile(Profile.unknown("c3"))


async def test_nothing_is_loaded_without_redis(engine: AsyncEngine) -> None:
    client = Redis(port=1)
    loader = BulkLoader(engine, ProfileStore(engine, client, key_of).cache)
    with pytest.raises(RedisUnavailable, match="0 of 1 rows are done: import the file again"):
        await loader.load(open_customers(b"customer_id\nlost\n", "csv"))
    assert await query(engine, "SELECT 1 FROM customers") == []
    await client.aclose()


async def test_imports_of_the_same_customers_at_once(
    loader: BulkLoader, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four importers in opposite orders, many transactions each: no deadlock, and no record is a mixture."""
    monkeypatch.setattr("profiles.store_bulk.MAX_CUSTOMERS", 100)
    ids = [f"c{number}" for number in range(400)]

    def customers_file(mark: int) -> bytes:
        ordered = ids if mark % 2 else ids[::-1]
        return ("customer_id,a,indicators.b\n" + "".join(f"{i},{mark},{mark}\n" for i in ordered)).encode()

    def scores_file(mark: int) -> bytes:
        ordered = ids if mark % 2 else ids[::-1]
        rows = "".join(f"{i},o{mark},0.{mark}\n{i},o9,0.{mark}\n" for i in ordered)
        return f"customer_id,offer_id,propensity\n{rows}".encode()

    loads = [open_customers(customers_file(mark), "csv") for mark in range(1, 5)]
    loads += [open_propensities(scores_file(mark), OFFERS, "csv") for mark in range(1, 5)]
    reports = await asyncio.gather(*(loader.load(run) for run in loads))
    assert [report.loaded for report in reports] == [400] * 4 + [800] * 4
    mixtures = "SELECT customer_id FROM customers WHERE attributes->'a' <> indicators->'b'"
    assert await query(engine, mixtures) == []
    assert await query(engine, "SELECT count(*) FROM customers") == [(400,)]
    merged = """SELECT count(*) FROM propensities
                WHERE scores - 'o9' = '{"o1": 0.1, "o2": 0.2, "o3": 0.3, "o4": 0.4}' AND scores ? 'o9'"""
    assert await query(engine, merged) == [(400,)]


async def test_an_import_beside_single_changes(
    loader: BulkLoader, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profiles.store_bulk.MAX_CUSTOMERS", 20)
    ids = [f"c{number}" for number in range(200)]
    run = open_customers(("customer_id,by\n" + "".join(f"{i},import\n" for i in ids)).encode(), "csv")

    async def change_all() -> None:
        for customer_id in reversed(ids):
            await store_customer(store, Customer(customer_id, {"by": "change"}, {}, (), {}, {}))

    await asyncio.gather(loader.load(run), change_all())
    found = set()
    for customer_id in ids:
        profile = await store.load(customer_id, {})
        assert profile is not None
        found.add(profile.customer.attributes["by"])
    assert found <= {"import", "change"}
