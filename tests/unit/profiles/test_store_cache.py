"""The cache of profiles: no order of reads and changes leaves in it what a change has replaced."""

import itertools
from collections.abc import Callable

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles import store_cache
from profiles.customer import TOMBSTONE, Profile, encode_profile
from profiles.store import READ_TIMEOUT_S, ProfileStore
from profiles.store_cache import AFTER_CHANGE_S, BEFORE_CHANGE_S, FILL_WITHIN_S
from tests.support.profile_keys import key_of


async def test_unreadable_bytes_are_not_removed_once_replaced(store: ProfileStore, cache: Redis) -> None:
    await cache.set(key_of("raced"), TOMBSTONE)
    await store.cache._remove_if_still(key_of("raced"), b"unreadable")
    assert await cache.get(key_of("raced")) == TOMBSTONE


def test_the_times_fit_together() -> None:
    assert READ_TIMEOUT_S < FILL_WITHIN_S < AFTER_CHANGE_S < BEFORE_CHANGE_S


def interleavings(*lengths: int) -> list[tuple[int, ...]]:
    """All orders of the steps of several actors; the numbers are the actors whose turn it is."""
    steps = [actor for actor, length in enumerate(lengths) for _ in range(length)]
    return sorted(set(itertools.permutations(steps)))


async def test_no_order_of_steps_leaves_an_old_record_in_the_cache(engine: AsyncEngine, cache: Redis) -> None:
    """Two readers (load, fill) and a writer (tombstone, commit, tombstone), in every order there is."""
    orders = interleavings(2, 2, 3)
    assert len(orders) == 210
    for number, order in enumerate(orders):
        await check_order(engine, cache, f"race {number}", order)


async def check_order(engine: AsyncEngine, cache: Redis, customer_id: str, order: tuple[int, ...]) -> None:
    store = ProfileStore(engine, cache, key_of)
    async with engine.begin() as connection:
        insert = 'INSERT INTO customers (customer_id, consents) VALUES (:id, \'{"ads": ["*"]}\')'
        await connection.execute(text(insert), {"id": customer_id})
    change = store.cache.changing([customer_id])

    async def commit() -> None:
        async with engine.begin() as connection:
            withdraw = "UPDATE customers SET consents = '{}' WHERE customer_id = :id"
            await connection.execute(text(withdraw), {"id": customer_id})

    async def end_change() -> None:
        await change.__aexit__(None, None, None)

    read: dict[int, Profile | None] = {}

    def reader(actor: int) -> list[Callable[[], object]]:
        async def load() -> None:
            read[actor] = await store.load(customer_id, {})

        async def fill() -> None:
            profile = read[actor]
            assert profile is not None
            await store.cache.fill(profile)

        return [load, fill]

    turns = [iter(steps) for steps in (reader(0), reader(1), [change.__aenter__, commit, end_change])]
    for actor in order:
        await next(turns[actor])()  # type: ignore[misc]  # all steps are coroutine functions
    # The change is acknowledged: from here on nobody may get the old consent, not even when tombstones are gone.
    assert not (await store.get(customer_id, {})).customer.consents_to("ads", "email")
    if await cache.get(key_of(customer_id)) == TOMBSTONE:
        await cache.delete(key_of(customer_id))
    assert not (await store.get(customer_id, {})).customer.consents_to("ads", "email")


async def test_a_failed_change_keeps_the_old_record_and_its_error(store: ProfileStore, cache: Redis) -> None:
    await cache.set(key_of("failing"), encode_profile(Profile.unknown("failing")))
    with pytest.raises(RuntimeError, match="commit failed"):
        async with store.cache.changing(["failing"]):
            raise RuntimeError("commit failed")
    assert await cache.get(key_of("failing")) == TOMBSTONE


async def test_all_profiles_are_read_anew_also_those_that_were_being_read(
    store: ProfileStore, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_cache, "FILL_WITHIN_S", 0.0)
    for name in ("cached", "late"):
        await cache.set(key_of(name), encode_profile(Profile.unknown(name)))
    await cache.delete(key_of("late"))
    await store.cache.bury_all(key_of("*"))
    assert await cache.get(key_of("cached")) == TOMBSTONE
    assert await cache.get(key_of("late")) is None
    await cache.set(key_of("late"), encode_profile(Profile.unknown("late")))  # by a read of before the change
    await store.cache.settled()
    assert await cache.get(key_of("late")) == TOMBSTONE
