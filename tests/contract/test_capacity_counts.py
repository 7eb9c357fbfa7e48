"""Capacity that counts what comes of decisions, over real servers, with a worker that reads the log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.capacity.leasing import TOTAL, Usage, period_at
from decisioning.capacity.store_counting import LaterCounter
from decisioning.capacity.store_pools import Pools
from decisioning.log.feedback_service import SKEW_MS
from decisioning.model.entities import Capacity
from storage.postgres import make_engine
from storage.redis import make_redis
from tests.support.capacity_world import (
    KEYS,
    LIMITED,
    Process,
    Shop,
    cap,
    catalogue,
    has,
    start_process,
    stop_process,
    worker,
)
from tests.support.contact_world import tell
from tests.support.waiting import eventually

LEASE_MS = 600
HOLD_S = 100


def later(maximum: int, **fields: Any) -> Capacity:
    """A capacity for all time that counts acceptances, if ``fields`` do not say otherwise."""
    return cap(maximum, **{"counts": "accepted", "hold_s": HOLD_S, "overbook": 0, **fields})


class World:
    """Processes and a worker over servers that are empty at the start."""

    def __init__(self, shop: Shop, engine: AsyncEngine, urls: tuple[str, str], pools: Pools) -> None:
        self.shop, self.engine, self.urls, self.pools = shop, engine, urls, pools
        self.processes: list[Process] = []
        self.accepted = 0

    async def begin(self, *capacities: Capacity, processes: int = 1, **placement: Any) -> Process:
        """Put capacities in force, and start processes."""
        self.put(*capacities, **placement)
        for _ in range(processes):
            self.processes.append(await start_process(self.shop, self.engine, self.urls[1], LEASE_MS))
        return self.processes[0]

    def put(self, *capacities: Capacity, **placement: Any) -> None:
        """Put capacities in force."""
        version = self.shop.catalogue.version + 1
        self.shop.catalogue = catalogue(*capacities, version=version, **placement)

    async def tell(self, customer: str, answer: dict[str, Any], outcome: str = "accepted") -> None:
        """Send an outcome of the limited offer."""
        now_ms = self.shop.clock_ms()
        status, _ = await tell(
            self.processes[0].log,
            KEYS.bucket(customer),
            answer["decision_id"],
            LIMITED,
            outcome,
            None,
            now_ms,
            now_ms,
            SKEW_MS,
        )
        assert status in ("recorded", "late")
        self.accepted += outcome == "accepted"

    async def offered(self, process: Process, customer: str) -> dict[str, Any]:
        """Ask for a customer until the limited offer is in an answer."""

        async def answer() -> dict[str, Any] | None:
            made = await process.decide(customer_id=customer)
            return made if has(made, LIMITED) else None

        return await eventually(answer, f"the limited offer for {customer}")

    async def usage(self) -> Usage:
        """The books of the only capacity."""
        [usage] = await self.processes[0].units.usage(self.shop.clock_ms())
        return usage

    async def until(self, holds: Callable[[Usage], bool], what: str) -> Usage:
        """Wait until the books are as they should be."""

        async def usage() -> Usage | None:
            found = await self.usage()
            return found if holds(found) else None

        return await eventually(usage, what)


@pytest.fixture
async def world(postgres_url: str, redis_url: str) -> AsyncIterator[World]:
    """A world without a capacity."""
    redis = make_redis(redis_url)
    await redis.flushall()
    engine = make_engine(postgres_url)
    async with engine.begin() as connection:
        for table in ("capacity_pools", "archived", "decisions", "outcomes"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
    shop = Shop(catalogue())
    async with worker(shop, engine, postgres_url, redis_url, LEASE_MS) as pools:
        made = World(shop, engine, (postgres_url, redis_url), pools)
        yield made
        for process in made.processes:
            await stop_process(process)
    await redis.aclose()
    await engine.dispose()


async def test_page_views_of_one_customer_take_nothing_and_several_acceptances_count_once(
    world: World,
) -> None:
    process = await world.begin(later(3))
    answers = [await world.offered(process, "ada") for _ in range(7)]
    usage = await world.until(lambda u: u.held == 1, "seven views to hold one unit")
    assert (usage.used, usage.remaining) == (0, 3)
    for answer in answers[:3]:
        await world.tell("ada", answer)
    usage = await world.until(lambda u: u.used > 0 and u.held == 0, "the acceptances to be counted")
    assert (usage.used, usage.remaining) == (1, 2)


async def test_each_acceptance_counts_where_a_customer_can_use_several(world: World) -> None:
    process = await world.begin(later(3, once_per_customer=False))
    answers = [await world.offered(process, "ada") for _ in range(3)]
    assert not has(await process.decide(customer_id="ada"), LIMITED)
    for answer in answers[:2]:
        await world.tell("ada", answer)
    await world.until(lambda u: (u.used, u.held) == (2, 1), "two acceptances to be counted")


async def test_processes_under_load_never_pass_the_cap_and_reach_it(world: World) -> None:
    maximum = 30
    await world.begin(later(maximum), processes=3)
    numbers = iter(range(10_000))

    async def customers(process: Process, number: int) -> None:
        """Some accept, some refuse, at once or later, while others ask."""
        while (await world.usage()).used < maximum:
            name = f"c{next(numbers)}"
            answer = await process.decide(customer_id=name)
            if not has(answer, LIMITED):
                await asyncio.sleep(0.02)
                continue
            await asyncio.sleep(0.01 * number)
            await world.tell(name, answer, "accepted" if number else "rejected")

    await asyncio.gather(*(customers(p, n) for p in world.processes for n in range(4)))
    assert world.accepted == maximum
    assert not has(await world.processes[1].decide(customer_id="one more"), LIMITED)


async def test_a_hold_ends_in_time_and_what_is_accepted_after_it_counts_all_the_same(world: World) -> None:
    process = await world.begin(later(2))
    waiting = [await world.offered(process, name) for name in ("a", "b")]
    assert not has(await process.decide(customer_id="c"), LIMITED)
    world.shop.skew_ms = 1000 * (HOLD_S + 1)
    await world.offered(process, "c")
    await world.tell("a", waiting[0])
    await world.until(
        lambda u: (u.used, u.held, u.leased) == (1, 1, 0),
        "it to be counted, and what is not needed to come back",
    )
    assert not has(await process.decide(customer_id="d"), LIMITED)


async def test_more_is_held_than_is_left_only_if_few_accept_and_by_no_more_than_overbook(
    world: World,
) -> None:
    counter, capacity = LaterCounter(world.pools, world.engine), later(40, overbook=15)
    process = await world.begin(capacity)
    for number in range(40):
        await world.offered(process, f"early {number}")
    assert not has(await process.decide(), LIMITED)  # nothing is known of what comes of them
    world.shop.skew_ms = 1000 * (HOLD_S + 1)
    await world.until(lambda u: u.held == 0, "all of the holds to end")
    share = await counter.share(capacity, world.shop.clock_ms())
    assert (share.used, share.tried) == (0, 40)
    world.put(later(40, overbook=16))  # the worker makes the forecast anew for another capacity
    for number in range(56):
        await world.offered(process, f"later {number}")
    usage = await world.until(lambda u: u.held == 56, "all of them to hold a unit")
    assert (usage.used, usage.open_offers) == (0, 0)
    assert not has(await process.decide(), LIMITED)


async def test_a_lost_pool_is_counted_again_from_the_log(world: World) -> None:
    process = await world.begin(later(5))
    for name in "abc":
        await world.tell(name, await world.offered(process, name))
    await world.offered(process, "held")
    await world.until(lambda u: (u.used, u.held) == (3, 1), "three to be counted, and one to be held")
    redis = make_redis(world.urls[1])
    await redis.delete(KEYS.capacity("calls", "total"))
    await redis.aclose()
    usage = await world.until(lambda u: u.used == 3, "the pool to be restored")
    assert (usage.held, usage.remaining) == (1, 2)
    await world.offered(process, "another")
    await world.until(lambda u: u.held == 2, "another to be held")
    assert not has(await process.decide(customer_id="one more"), LIMITED)


async def test_what_nobody_has_to_confirm_is_presented_when_it_is_decided(world: World) -> None:
    process = await world.begin(later(2, counts="presented"))
    for _ in range(4):
        await world.offered(process, "ada")
    await world.until(lambda u: (u.used, u.held) == (1, 0), "four views to count once")
    await world.offered(process, "bob")
    await world.until(lambda u: u.used == 2, "the other customer to be counted")
    assert not has(await process.decide(customer_id="eve"), LIMITED)


async def test_what_an_agent_has_to_confirm_is_used_up_when_it_is_confirmed(world: World) -> None:
    agent: dict[str, Any] = {"presentation": "explicit", "confirm_within_s": 60}
    process = await world.begin(later(2, counts="presented"), **agent)
    answer = await world.offered(process, "ada")
    await world.until(lambda u: (u.used, u.held) == (0, 1), "the decision to hold a unit")
    await world.tell("ada", answer, "presented")
    await world.tell("ada", answer, "rejected")
    await world.until(lambda u: (u.used, u.held) == (1, 0), "the presentation to be counted once")


async def test_a_capacity_that_begins_to_count_otherwise_is_counted_anew(world: World) -> None:
    decided = cap(4)
    process = await world.begin(decided)
    answers = {name: await world.offered(process, name) for name in "abcd"}
    assert not has(await process.decide(customer_id="e"), LIMITED)
    await world.tell("a", answers["a"])
    for name in "bc":
        await world.tell(name, answers[name], "rejected")
    world.put(later(4))
    await world.until(lambda u: (u.used, u.held) == (1, 1), "one acceptance to count, and one to be held")
    await world.offered(process, "e")
    world.put(decided)
    usage = await world.until(lambda u: u.used >= 5, "all decisions to count again")
    assert (usage.used, usage.remaining, usage.open_offers) == (5, 0, None)
    assert not has(await process.decide(customer_id="f"), LIMITED)


async def test_what_earlier_periods_hold_is_kept_of_the_next_one(world: World) -> None:
    daily = later(3, per="day")
    process = await world.begin(daily)
    today = period_at(daily, world.shop.clock_ms())
    world.shop.skew_ms = today.ends_ms - world.shop.clock_ms() - 40_000
    answers = {name: await world.offered(process, name) for name in "ab"}
    world.shop.skew_ms += 41_000
    await world.offered(process, "c")
    await world.until(
        lambda u: (u.held, u.open_offers) == (1, 0), "one to be held today, and two of yesterday"
    )
    assert not has(await process.decide(customer_id="d"), LIMITED)
    await world.tell("a", answers["a"])
    await world.tell("b", answers["b"], "rejected")
    usage = await world.until(lambda u: u.used == 1, "what was accepted today to count today")
    assert usage.period.period_id == period_at(daily, today.ends_ms).period_id
    await world.offered(process, "d")


async def test_what_earlier_periods_hold_is_kept_although_the_archive_does_not_know_it_yet(
    world: World,
) -> None:
    daily = later(3, per="day")
    process = await world.begin(daily)
    today = period_at(daily, world.shop.clock_ms())
    world.shop.skew_ms = today.ends_ms - world.shop.clock_ms() - 40_000
    await world.until(lambda u: u.open_offers == 3, "the pool to be counted")
    async with world.engine.begin() as connection:  # nothing is archived while this lasts
        await connection.exec_driver_sql("LOCK TABLE archived IN EXCLUSIVE MODE")
        for name in "ab":
            await world.offered(process, name)
        world.shop.skew_ms += 41_000
        await world.offered(process, "c")
        books = await world.pools.books("calls", period_at(daily, world.shop.clock_ms()))
        assert books is not None
        assert books.allowed == 1
        assert not has(await process.decide(customer_id="d"), LIMITED)


async def test_a_capacity_that_counts_decisions_is_not_read_from_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: Any) -> Awaitable[None]:
        raise AssertionError("it was read")

    monkeypatch.setattr(LaterCounter, "read", read)
    process = await world.begin(cap(2))
    await world.offered(process, "a")
    books = await world.pools.books("calls", TOTAL)
    assert books is not None
    assert (books.counted, books.allowed) == (None, None)
