"""Profiles in real servers: reading, caching, and changes that nobody must miss."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from profiles.customer import TOMBSTONE, Customer, Profile, decode_profile, encode_profile
from profiles.errors import InvalidCustomer
from profiles.store import ProfileStore
from profiles.store_cache import AFTER_CHANGE_S, BEFORE_CHANGE_S, FILL_WITHIN_S
from storage.errors import PostgresUnavailable, RedisUnavailable
from tests.support.customers import store_customer
from tests.support.profile_keys import key_of
from tests.support.waiting import eventually

NUMBERS = {"o1": 3, "o2": 1}


def customer(customer_id: str, *, ads: tuple[str, ...] = ("email",)) -> Customer:
    return Customer(
        customer_id,
        {"age": 41, "rate": 2.0, "name": 'Köln "x" \\ \n', "vip": True, "huge": 1e30},
        {"clv": 120.0},
        ("loan", 'a"b\\c', "ü"),
        {"golf": 0.5},
        {"ads": ads},
    )


async def put_scores(engine: AsyncEngine, customer_id: str, scores: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO propensities (customer_id, scores) VALUES (:id, CAST(:scores AS jsonb))"),
            {"id": customer_id, "scores": scores},
        )


@asynccontextmanager
async def relay(redis_url: str) -> AsyncIterator[tuple[Redis, Callable[[], None]]]:
    """A client that reaches the server through a relay, and what cuts it off for good."""
    host, _, port = redis_url.removeprefix("redis://").partition("/")[0].rpartition("@")[2].partition(":")
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        writers.extend((writer, there_writer))
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)

    def cut() -> None:
        server.close()
        for writer in writers:
            writer.close()

    own_port = server.sockets[0].getsockname()[1]
    client = Redis.from_url(redis_url.replace(f":{port}", f":{own_port}"))
    try:
        yield client, cut
    finally:
        await client.aclose()
        cut()
        await server.wait_closed()


async def until_blocked(engine: AsyncEngine) -> None:
    """Wait until some statement waits for a lock."""
    async with engine.connect() as connection:

        async def blocked() -> int:
            waiting = await connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
            return int(waiting.scalar_one())

        await eventually(blocked, "a statement that waits for a lock")


async def test_a_stored_customer_is_read_as_it_was(store: ProfileStore, engine: AsyncEngine) -> None:
    await store_customer(store, customer("whole"))
    await put_scores(engine, "whole", '{"o1": 0.25, "o2": 1}')
    profile = await store.load("whole", NUMBERS)
    assert profile is not None
    assert profile.customer == customer("whole")
    assert {name: type(value) for name, value in profile.customer.attributes.items()} == {
        "age": int,
        "rate": float,
        "name": str,
        "vip": bool,
        "huge": float,
    }
    np.testing.assert_array_equal(profile.offer_nos, np.array([1, 3], np.uint32))
    np.testing.assert_array_equal(profile.propensities, np.array([1.0, 0.25], np.float32))


async def test_a_later_record_replaces_the_earlier(store: ProfileStore) -> None:
    await store_customer(store, customer("later"))
    bare = Customer("later", {}, {}, (), {}, {})
    await store_customer(store, bare)
    profile = await store.load("later", {})
    assert profile is not None
    assert profile.customer == bare


async def test_nobody_and_impossible_ids_are_unknown(store: ProfileStore) -> None:
    for customer_id in ("nobody", "", "a\0b", "\ud800", "x" * 200):
        assert await store.load(customer_id, {}) is None
    profile = await store.get("nobody", {})
    assert not profile.customer.known
    assert not profile.customer.consents_to("ads", "email")


async def test_propensities_without_a_record_give_no_consent(
    store: ProfileStore, engine: AsyncEngine
) -> None:
    await put_scores(engine, "scores only", '{"o2": 0.5}')
    profile = await store.load("scores only", NUMBERS)
    assert profile is not None
    assert profile.customer == Customer.unknown("scores only")
    assert profile.offer_nos.tolist() == [1]


async def test_offers_newer_than_the_callers_catalogue_are_looked_up(
    store: ProfileStore, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO offers (offer_id) VALUES ('new')"))
    number = (await store.offer_numbers())["new"]
    await put_scores(engine, "ahead", '{"new": 0.5, "gone": 0.25}')
    for _ in range(2):  # the second time from memory
        profile = await store.load("ahead", {})
        assert profile is not None
        assert profile.offer_nos.tolist() == [number]
        assert profile.propensities.tolist() == [0.5]


async def test_what_is_stored_in_a_way_that_cannot_be_understood_gives_no_consent(
    store: ProfileStore, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("""INSERT INTO customers (customer_id, attributes, indicators, consents) VALUES
                    ('odd', '{"a": [1], "b": null, "c": "x"}', '{"clv": "much"}', '{"ads": "*", "calls": true}')""")
        )
    profile = await store.load("odd", {})
    assert profile is not None
    assert profile.customer.attributes == {"c": "x"}
    assert profile.customer.indicators == {}
    assert not profile.customer.consents_to("ads", "email")
    assert not profile.customer.consents_to("calls", "phone")


async def test_wishes_that_were_stored_as_text_limit_contact_all_the_same(
    store: ProfileStore, engine: AsyncEngine
) -> None:
    stored = '{"max_contacts_per_day": "1", "max_contacts_per_week": "few", "min_gap_s": "60"}'
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO customers (customer_id, attributes) VALUES ('wishes', CAST(:stored AS jsonb))"),
            {"stored": stored},
        )
    for _ in range(2):  # from Postgres, then from the cache
        customer = (await store.get("wishes", {})).customer
        assert customer.attributes == {"max_contacts_per_day": 1, "max_contacts_per_week": 0, "min_gap_s": 60}


async def test_a_bad_customer_is_not_stored(store: ProfileStore) -> None:
    with pytest.raises(InvalidCustomer):
        await store_customer(store, Customer("bad", {"x": float("nan")}, {}, (), {}, {}))
    assert await store.load("bad", {}) is None


async def test_reading_through_fills_the_cache(store: ProfileStore, cache: Redis) -> None:
    async with store._engine.begin() as connection:
        await connection.execute(text("INSERT INTO customers (customer_id) VALUES ('cached')"))
    first = await store.get("cached", {})
    blob = await cache.get(key_of("cached"))
    assert isinstance(blob, bytes)
    assert decode_profile(blob).customer == first.customer == (await store.get("cached", {})).customer
    assert 0 < await cache.ttl(key_of("cached")) <= 300
    await store.get("not there", {})
    assert 0 < await cache.ttl(key_of("not there")) <= 30


async def test_bytes_of_another_version_make_room(store: ProfileStore, cache: Redis) -> None:
    await store_customer(store, customer("old version"))
    await cache.set(key_of("old version"), b"nbp\x00 what another version wrote")
    assert (await store.get("old version", {})).customer.known
    blob = await cache.get(key_of("old version"))
    assert isinstance(blob, bytes)
    assert decode_profile(blob).customer == customer("old version")


async def test_a_tombstone_is_a_miss_that_no_fill_removes(store: ProfileStore, cache: Redis) -> None:
    await store_customer(store, customer("buried"))
    assert await cache.get(key_of("buried")) == TOMBSTONE
    assert 0 < await cache.ttl(key_of("buried")) <= AFTER_CHANGE_S < BEFORE_CHANGE_S
    assert (await store.get("buried", {})).customer == customer("buried")
    assert await cache.get(key_of("buried")) == TOMBSTONE


async def test_a_read_that_took_long_fills_nothing(engine: AsyncEngine, cache: Redis) -> None:
    now_s = 100.0
    store = ProfileStore(engine, cache, key_of, clock=lambda: now_s)
    started_s = now_s
    profile = await store.load("slow", {}) or Profile.unknown("slow")
    now_s += FILL_WITHIN_S
    assert not await store.fill(profile, started_s)
    assert await cache.get(key_of("slow")) is None
    now_s = started_s + FILL_WITHIN_S - 1
    assert await store.fill(profile, started_s)


async def test_a_profile_is_cached_until_a_consent_ends_and_no_longer(
    engine: AsyncEngine, cache: Redis
) -> None:
    now_s = 100.0
    store = ProfileStore(engine, cache, key_of, clock=lambda: now_s)
    await store_customer(store, customer("ends"))
    await cache.delete(key_of("ends"))
    end = text(
        "UPDATE customers SET consent_ends = jsonb_build_object('ads', jsonb_build_object('email',"
        " jsonb_build_array(floor(extract(epoch FROM now() + cast(:after AS interval)) * 1000), false)))"
        " WHERE customer_id = 'ends'"
    )
    async with engine.begin() as connection:
        await connection.execute(end, {"after": timedelta(seconds=60)})
    profile = await store.load("ends", {})
    assert profile is not None
    assert profile.customer.consents_to("ads", "email")
    assert 50_000 < (profile.holds_for_ms or 0) <= 60_000
    now_s += 1
    assert await store.fill(profile, 100.0)
    assert 0 < await cache.pttl(key_of("ends")) <= 59_000
    await cache.delete(key_of("ends"))
    assert not await store.fill(replace(profile, holds_for_ms=1500), 100.0)
    async with engine.begin() as connection:
        await connection.execute(end, {"after": timedelta(seconds=-1)})
    ended = await store.load("ends", {})
    assert ended is not None
    assert (ended.customer.consents, ended.holds_for_ms) == ({}, None)


async def test_readers_never_fall_behind_what_was_acknowledged(engine: AsyncEngine, redis_url: str) -> None:
    """Two processes' worth of readers beside a writer that changes the same customers over and over."""
    clients = [Redis.from_url(redis_url) for _ in range(3)]
    writer, *readers = [ProfileStore(engine, client, key_of) for client in clients]
    acknowledged = dict.fromkeys(("v1", "v2", "v3"), 0)
    for customer_id in acknowledged:
        await store_customer(writer, Customer(customer_id, {"version": 0}, {}, (), {}, {}))
    writing = True

    async def write() -> None:
        nonlocal writing
        for version in range(1, 41):
            for customer_id in acknowledged:
                await store_customer(writer, Customer(customer_id, {"version": version}, {}, (), {}, {}))
                acknowledged[customer_id] = version
        writing = False

    async def read(store: ProfileStore) -> int:
        reads = 0
        while writing:
            for customer_id in acknowledged:
                at_least = acknowledged[customer_id]
                version = (await store.get(customer_id, {})).customer.attributes["version"]
                assert isinstance(version, int)
                assert version >= at_least
                reads += 1
        return reads

    _, *counts = await asyncio.gather(write(), *(read(store) for store in readers))
    assert all(counts)
    for client in clients:
        await client.aclose()


async def test_nothing_is_changed_when_the_cache_cannot_be_cleared(
    engine: AsyncEngine, store: ProfileStore, redis_url: str
) -> None:
    await store_customer(store, customer("kept"))
    async with relay(redis_url) as (client, cut):
        cut_off = ProfileStore(engine, client, key_of)
        cut()
        with pytest.raises(RedisUnavailable, match="clear the profile cache"):
            await store_customer(cut_off, customer("kept", ads=()))
        profile = await cut_off.get("kept", {})  # reads go on without Redis
    assert profile.customer.consents == {"ads": ("email",)}


async def test_a_change_is_not_acknowledged_when_redis_goes_in_the_middle(
    engine: AsyncEngine, store: ProfileStore, redis_url: str, cache: Redis
) -> None:
    await store_customer(store, customer("half"))
    async with relay(redis_url) as (client, cut):
        cut_off = ProfileStore(engine, client, key_of)
        async with engine.begin() as holder:
            await holder.execute(text("SELECT 1 FROM customers WHERE customer_id = 'half' FOR UPDATE"))
            change = asyncio.create_task(store_customer(cut_off, customer("half", ads=())))
            await until_blocked(engine)
            cut()
        with pytest.raises(RedisUnavailable):
            await change
    assert await cache.get(key_of("half")) == TOMBSTONE
    assert not (await store.get("half", {})).customer.consents_to("ads", "email")


async def test_a_locked_table_ends_a_read_in_time(
    engine: AsyncEngine, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profiles.store.READ_TIMEOUT_S", 0.1)
    async with engine.begin() as holder:
        await holder.execute(text("LOCK TABLE customers IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(PostgresUnavailable, match="cannot read the profile from Postgres: TimeoutError"):
            await store.load("any", {})
    monkeypatch.undo()
    assert await store.load("any", {}) is None


async def test_an_unreachable_postgres_is_unavailable(cache: Redis) -> None:
    engine = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    store = ProfileStore(engine, cache, key_of)
    for call in (store.load("any", {}), store.get("any", {}), store_customer(store, customer("any"))):
        with pytest.raises(PostgresUnavailable):
            await call
    with pytest.raises(PostgresUnavailable):
        await store.offer_numbers()
    await cache.set(key_of("any"), encode_profile(Profile.unknown("any")))
    assert (await store.get("any", {})).customer == Customer.unknown("any")
    await engine.dispose()
