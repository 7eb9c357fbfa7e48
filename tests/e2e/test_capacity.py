"""Capacity from end to end: shared by processes, never above the cap, nearly all of it reachable, nothing lost."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.capacity import store_leases
from decisioning.capacity.leasing import TOTAL, period_at
from decisioning.capacity.store_pools import CapacityLog, Pools
from decisioning.catalog.catalogue import Catalogue
from decisioning.log.feedback_service import SKEW_MS
from decisioning.log.store_stream import LogReader
from decisioning.model.entities import Capacity
from storage.errors import RedisUnavailable
from storage.postgres import make_engine
from storage.redis import make_redis
from tests.support.capacity_world import (
    KEYS,
    LIMITED,
    VISIT,
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
from tests.support.installation import START_S
from tests.support.waiting import DEADLINE_S, Deadline, eventually

ROOT = Path(__file__).resolve().parents[2]
LEASE_MS = 600


class World:
    """Processes, a worker, and what the log says, over servers that are empty at the start."""

    def __init__(self, shop: Shop, engine: AsyncEngine, urls: tuple[str, str], pools: Pools) -> None:
        self.shop, self.engine, self.urls, self.pools = shop, engine, urls, pools
        self.log = CapacityLog(engine)
        self._stack = AsyncExitStack()

    async def process(self, lease_ms: int = LEASE_MS) -> Process:
        """One more process; stopped at the end if it is not before."""
        made = await start_process(self.shop, self.engine, self.urls[1], lease_ms)
        self._stack.push_async_callback(stop_process, made)
        return made

    async def used(self, capacity: Capacity | str = "calls") -> int:
        """Units in the archived log, all periods of ``total``."""
        name = capacity if isinstance(capacity, str) else capacity.capacity_id
        period = TOTAL if isinstance(capacity, str) else period_at(capacity, self.shop.clock_ms())
        return sum((await self.log.used(name, period)).values())

    async def publish(self, changed: Catalogue) -> None:
        """Put a catalogue in force, and wait until its pools are open."""
        self.shop.catalogue = changed
        await eventually(self._is_open, "the pools to be open")

    async def _is_open(self) -> bool:
        now_ms = self.shop.clock_ms()
        capacities = self.shop.catalogue.capacities.values()
        return all([await self.pools.books(c.capacity_id, period_at(c, now_ms)) for c in capacities])

    async def close(self) -> None:
        """Stop the processes."""
        await self._stack.aclose()


@pytest.fixture
async def world(postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """An empty world with a cap of 40 call-backs."""
    # A busy machine gives a lease in its own time: what is decided without waiting for it has no unit.
    monkeypatch.setattr(store_leases, "MAX_REFILL_WAIT_S", 4.0)
    redis = make_redis(redis_url)
    await redis.flushall()
    engine = make_engine(postgres_url)
    async with engine.begin() as connection:
        for table in ("capacity_pools", "archived", "decisions", "outcomes"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
    shop = Shop(catalogue(cap(40)))
    async with worker(shop, engine, postgres_url, redis_url, LEASE_MS) as pools:
        made = World(shop, engine, (postgres_url, redis_url), pools)
        await made.publish(shop.catalogue)
        yield made
        await made.close()
    await redis.aclose()
    await engine.dispose()


async def spend_all(processes: list[Process], expected: int) -> int:
    """Ask in turn until so many units are spent, and then a while longer; how many were spent."""
    spent = extra = 0
    deadline = Deadline(f"{expected} units to be spent", progress=lambda: spent)
    while spent < expected or extra < 10:
        deadline.check(spent)
        for process in processes:
            spent += await process.spend(1)
        extra += spent >= expected
        await asyncio.sleep(0.002)
    return spent


async def test_processes_share_a_cap_to_the_last_unit(world: World) -> None:
    first, second = await world.process(), await world.process()
    assert await spend_all([first, second], 40) == 40
    assert not has(await first.decide(), LIMITED)
    assert has(await first.decide(), VISIT)
    await eventually(lambda: _equal(world.used(), 40), "40 units in the archived log")


async def test_what_is_not_needed_comes_back_from_idle_and_closed_processes(world: World) -> None:
    idle, closed, busy = await world.process(), await world.process(), await world.process()
    assert [await p.spend(3) for p in (idle, closed)] == [3, 3]
    await stop_process(closed)
    assert await spend_all([busy], 34) == 34
    assert await idle.spend(5) == 0


async def test_a_killed_process_gives_back_what_it_did_not_use(world: World) -> None:
    killed, other = await world.process(), await world.process()
    await killed.spend(4)
    keeper = killed.units._keeper
    assert keeper is not None
    keeper.cancel()  # nothing is renewed or returned
    await killed.pipe.stop()
    books = await world.pools.books("calls", TOTAL)
    assert books is not None
    assert sum(leased for leased, _, _ in books.holders.values()) > 4
    assert await spend_all([other], 36) == 36


async def test_a_write_that_comes_after_its_lease_is_not_done(world: World) -> None:
    process = await world.process()
    spent = await process.spend(4)
    lease = process.units._current["calls"]
    await eventually(lambda: _at_least(_value(lease.free), 1), "a lease with free units")
    lease.ends_ms = world.shop.clock_ms() - 10
    spent += await process.spend(1)
    assert process.units._current["calls"] is not lease
    assert lease.open == 0
    spent += await spend_all([process], 40 - spent)
    assert spent == 40  # the units of the lapsed lease came back, apart from the used ones
    await eventually(lambda: _equal(world.used(), 40), "40 units in the archived log")


async def test_withdrawn_decisions_give_their_units_back(world: World) -> None:
    process = await world.process()
    customers = [f"w{i}" for i in range(5)]
    for name in customers:
        answer = await process.decide(customer_id=name)
        assert has(answer, LIMITED)
        waiting = await process.log.waiting(KEYS.bucket(name), answer["decision_id"])
        now_ms = world.shop.clock_ms()
        await process.log.withdraw(name, answer["decision_id"], int(waiting["d"]), now_ms)
    assert await spend_all([process], 40) == 40
    await eventually(lambda: _equal(world.used(), 45), "45 units in the archived log")


async def test_units_of_what_was_never_presented_come_back(world: World) -> None:
    await world.publish(catalogue(cap(40), version=2, presentation="explicit", confirm_within_s=60))
    process = await world.process()
    assert await process.spend(10) == 10
    redis = make_redis(world.urls[1])
    reader = LogReader(redis, KEYS)
    later_ms = world.shop.clock_ms() + 100_000
    due = await reader.unconfirmed(later_ms, 6)
    assert await reader.release(due, later_ms) == len(due) >= 6
    await redis.aclose()
    assert await spend_all([process], 30 + len(due)) == 30 + len(due)
    bucket, confirmed = due[0]
    await tell(process.log, bucket, confirmed, LIMITED, "presented", None, later_ms, later_ms, SKEW_MS)
    await eventually(partial(_released, world, len(due) - 1), "the released units to be booked")


async def test_a_dry_run_and_an_answer_without_log_take_nothing(world: World) -> None:
    process = await world.process()
    assert has(await process.decide(dry_run=True), LIMITED)
    assert await world.used() == 0
    assert has(await process.decide(), LIMITED)
    await process.pipe.stop()
    process.pipe._link = None  # as when the server is gone
    degraded = await process.decide()
    assert degraded["degraded"]
    assert not has(degraded, LIMITED)


async def test_every_capacity_of_every_slot_counts(world: World) -> None:
    both = cap(6, "team", offer=None, team="service", counts="decided")
    await world.publish(catalogue(cap(4), both, version=2, slots=2))
    process = await world.process()
    answers = [await process.decide() for _ in range(12)]
    calls, visits = (sum(has(answer, name) for answer in answers) for name in (LIMITED, VISIT))
    assert calls <= 4
    assert calls + visits == 6
    assert all(len(answer["offers"]) == 2 for answer in answers if has(answer, LIMITED))


async def test_a_changed_cap_holds_at_once(world: World) -> None:
    first, second = await world.process(), await world.process()
    assert await first.spend(10) + await second.spend(10) == 20
    await world.publish(catalogue(cap(10), version=2))
    assert await first.spend(20) + await second.spend(20) == 0
    await world.publish(catalogue(cap(25), version=3))
    assert await spend_all([first, second], 5) == 5
    await world.publish(catalogue(version=4))
    assert await first.spend(3) == 3


async def test_a_new_period_has_all_units_again(world: World) -> None:
    daily = cap(5, per="day", time_zone="Europe/Madrid")
    await world.publish(catalogue(daily, version=2))
    process = await world.process()
    assert await spend_all([process], 5) == 5
    world.shop.skew_ms = period_at(daily, world.shop.clock_ms()).ends_ms - world.shop.clock_ms()
    assert await spend_all([process], 5) == 5
    await eventually(lambda: _equal(world.used(daily), 5), "5 units in the archived log")
    [usage] = await process.units.usage(world.shop.clock_ms())
    assert (usage.capacity.max, usage.used + usage.leased + usage.remaining) == (5, 5)


async def test_a_lost_pool_is_restored_from_the_log(world: World) -> None:
    process = await world.process()
    assert await process.spend(15) == 15
    await eventually(lambda: _equal(world.used(), 15), "15 units in the archived log")
    redis = make_redis(world.urls[1])
    positions = {f"nb:{{b{b}}}:log": await redis.xinfo_stream(KEYS.log(b)) for b in range(4)}
    await redis.flushall()
    for key, info in positions.items():  # what a rebuild does first
        last = info["last-generated-id"]
        await redis.xadd(key, {"t": "start"}, id=last)
        await redis.xdel(key, last)
    await redis.aclose()
    assert await spend_all([process], 25) == 25
    await eventually(lambda: _equal(world.used(), 40), "40 units in the archived log")


async def test_nothing_is_asked_of_a_view_without_capacity(world: World) -> None:
    await world.publish(catalogue(version=2))
    process = await world.process()
    view = world.shop.catalogue.view("desk")
    assert process.units.exhausted(view, world.shop.clock_ms()) == frozenset()
    assert process.units.withheld(view) == frozenset()
    assert has(await process.decide(), LIMITED)
    assert await process.units.usage(world.shop.clock_ms()) == []


async def test_usage_needs_redis(world: World) -> None:
    process = await world.process()
    await process.spend(3)
    await eventually(lambda: _used(process, world, 3), "three units in the report")
    await process.pipe.stop()
    with pytest.raises(RedisUnavailable):
        await process.units.usage(world.shop.clock_ms())


async def test_real_processes_that_are_killed_never_exceed_the_cap(world: World, tmp_path: Path) -> None:
    maximum = 300
    await world.publish(catalogue(cap(maximum)))
    children: list[subprocess.Popen[bytes]] = []

    async def start() -> None:
        """One more process, connected, and waiting to be told to begin."""
        file = tmp_path / str(len(children))
        arguments = [*world.urls, str(maximum), str(LEASE_MS), "0.02", str(file)]
        command = [sys.executable, "-m", "tests.support.capacity_world", *arguments]
        children.append(_spawn(command))
        await eventually(
            lambda: asyncio.to_thread(file.exists), f"process {len(children)} to be ready", timeout_s=START_S
        )

    try:
        for _ in range(4):
            await start()
        for number, child in enumerate(children[:3]):
            # Each is to have used some units, which the others would use up meanwhile.
            _begin(child)
            await eventually(partial(_delivered, tmp_path / str(number)), f"process {number + 1} to deliver")
        for number, share in ((0, 0.1), (1, 0.4)):
            await eventually(
                partial(_reached, world, share * maximum), f"{share:.0%} of the units to be used"
            )
            os.kill(children[number].pid, signal.SIGKILL)
        _begin(children[3])
        await eventually(partial(_reached, world, maximum), "all units to be used")
        await asyncio.sleep(2 * LEASE_MS / 1000)  # demand lasts
    finally:
        for child in children:
            child.communicate(timeout=DEADLINE_S)
    delivered = [len((tmp_path / str(n)).read_text().splitlines()) for n in range(len(children))]
    assert await world.used() == maximum
    assert 0.97 * maximum <= sum(delivered) <= maximum
    assert min(delivered[:3]) > 0


def _begin(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdin is not None
    child.stdin.write(b"!")
    child.stdin.flush()


def _spawn(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)


async def _released(world: World, units: int) -> bool:
    books = await world.pools.books("calls", TOTAL)
    return books is not None and books.released == units


async def _delivered(file: Path) -> bool:
    return len(await asyncio.to_thread(file.read_bytes)) > 0


async def _reached(world: World, units: float) -> bool:
    return await world.used() >= units


async def _equal(found: Awaitable[int], expected: int) -> bool:
    return await found == expected


async def _at_least(found: Awaitable[int], expected: float) -> bool:
    return await found >= expected


async def _value(value: int) -> int:
    return value


async def _used(process: Process, world: World, expected: int) -> bool:
    [usage] = await process.units.usage(world.shop.clock_ms())
    return usage.used == expected
