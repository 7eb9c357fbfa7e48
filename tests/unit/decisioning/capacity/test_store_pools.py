"""The functions of a pool against a plain reading of their rules, in any order of calls."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisioning.capacity.leasing import TOTAL, grant_units
from decisioning.capacity.store_pools import Grant, Pools
from decisioning.model.entities import Capacity, Counts
from storage.functions import load_functions
from storage.keys import Keys
from storage.redis import make_redis
from storage.redis_pipe import Pipe

LEASE_MS = 100
HOLDERS = ("a", "b", "c")


@dataclass
class Oracle:
    """A pool as plain Python."""

    settled: int
    released: int
    cap: int | None = None
    version: int = -1
    leases: dict[str, tuple[int, int]] = field(default_factory=dict)

    def lease(self, now: int, cap: int, version: int, holder: str, held: int, want: int) -> Grant:
        leased, ends = self.leases.get(holder, (0, None))
        if leased != held or (ends is not None and now >= ends):
            return Grant("lapsed")
        if version >= self.version:
            self.cap, self.version = cap, version
        assert self.cap is not None
        taken = self.settled - self.released + sum(units for units, _ in self.leases.values())
        left = self.cap - taken
        units = grant_units(want, left, len(self.leases | {holder: (0, 0)}))
        if ends is not None or units:
            self.leases[holder] = held + units, now + LEASE_MS
        return Grant("ok", units, now + LEASE_MS, max(left - units, 0))

    def end(self, holder: str, used: int, now: int | None) -> bool:
        if holder not in self.leases or (now is not None and now < self.leases[holder][1]):
            return False
        del self.leases[holder]
        self.settled += used
        return True


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lease"), st.sampled_from(HOLDERS), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("use"), st.sampled_from(HOLDERS), st.integers(0, 30)),
        st.tuples(st.just("return"), st.sampled_from(HOLDERS)),
        st.tuples(st.just("settle"), st.sampled_from(HOLDERS)),
        st.tuples(st.just("wait"), st.integers(1, 80)),
        st.tuples(st.just("release"), st.integers(0, 3)),
        st.tuples(st.just("publish"), st.integers(0, 60)),
        st.tuples(st.just("old cap"), st.integers(0, 90)),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """An event loop for the whole module: Hypothesis' tests are not coroutines."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def pools(runner: asyncio.Runner, redis_url: str) -> Iterator[Pools]:
    """Pools in a real server."""

    async def begin() -> Pipe:
        client = make_redis(redis_url)
        await load_functions(client)
        await client.aclose()
        pipe = Pipe(redis_url)
        await pipe.start()
        return pipe

    pipe = runner.run(begin())
    yield Pools(pipe, Keys(4))
    runner.run(pipe.stop())


@settings(max_examples=60)
@given(cap=st.integers(0, 60), settled=st.integers(0, 5), steps=STEPS)
def test_a_pool_keeps_its_books(
    runner: asyncio.Runner, pools: Pools, cap: int, settled: int, steps: list[tuple[Any, ...]]
) -> None:
    runner.run(follow(pools, cap, settled, steps))


async def follow(pools: Pools, cap: int, settled: int, steps: list[tuple[Any, ...]]) -> None:
    """Do the same to the pool and to the oracle, and compare the answers and the books after each step."""
    await pools.pipe.call("DEL", "nb:{cap:c}:total")
    assert await pools.open("c", TOTAL, settled, 0)
    assert not await pools.open("c", TOTAL, 0, 0)
    oracle = Oracle(settled, 0)
    now, version, logged = 1_000, 1, settled
    used = dict.fromkeys(HOLDERS, 0)
    for step in steps:
        match step:
            case "lease", holder, want, honest:
                held = oracle.leases.get(holder, (0, 0))[0] + (0 if honest else 1)
                got = await pools.lease(
                    Capacity("c", "C", cap),
                    version,
                    TOTAL,
                    holder,
                    held=held,
                    used=used[holder],
                    want=want,
                    lease_ms=LEASE_MS,
                    now_ms=now,
                )
                assert got == oracle.lease(now, cap, version, holder, held, want)
            case "use", holder, units:
                leased = oracle.leases.get(holder, (0, 0))[0]
                more = min(units, leased - used[holder])
                used[holder] += more
                logged += more
            case "return", holder:
                assert await pools.give_back("c", TOTAL, holder, used[holder]) == oracle.end(
                    holder, used[holder], None
                )
                used[holder] = 0
            case "settle", holder:
                ended = await pools.settle("c", TOTAL, holder, used[holder], now)
                assert ended == oracle.end(holder, used[holder], now)
                if ended:
                    used[holder] = 0
            case "wait", for_ms:
                now += for_ms
            case "release", units:
                oracle.released = min(oracle.released + units, logged)
                await pools.release("c", TOTAL, oracle.released)
            case "publish", new_cap:
                cap, version = new_cap, version + 1
            case "old cap", old_cap:
                got = await pools.lease(
                    Capacity("c", "C", old_cap), version - 1, TOTAL, "late", held=0, used=0, want=0,
                    lease_ms=LEASE_MS, now_ms=now,
                )  # fmt: skip
                assert got == oracle.lease(now, old_cap, version - 1, "late", 0, 0)
        books = await pools.books("c", TOTAL)
        assert books is not None
        assert (books.settled, books.released) == (oracle.settled, oracle.released)
        assert {h: (units, ends) for h, (units, _, ends) in books.holders.items()} == oracle.leases
        assert oracle.settled + sum(used.values()) >= logged


async def test_what_is_not_open_grants_nothing(runner_free_pools: Pools) -> None:
    pools = runner_free_pools
    await pools.pipe.call("DEL", "nb:{cap:d}:total")
    got = await pools.lease(Capacity("d", "D", 5), 1, TOTAL, "a", held=0, used=0, want=1, lease_ms=LEASE_MS)
    assert got == Grant("missing")
    assert await pools.books("d", TOTAL) is None
    assert not await pools.open("d", TOTAL, 0, 0, before_ms=10, now_ms=10)
    assert await pools.open("d", TOTAL, 0, 0, before_ms=10, now_ms=9)


async def test_units_used_up_later_are_granted_as_far_as_they_were_counted(runner_free_pools: Pools) -> None:
    pools = runner_free_pools
    await pools.pipe.call("DEL", "nb:{cap:e}:total")
    await pools.open("e", TOTAL, 0, 0)

    async def remaining(maximum: int, version: int, counts: Counts = "accepted") -> int:
        capacity = Capacity("e", "E", maximum, counts=counts)
        got = await pools.lease(capacity, version, TOTAL, "a", held=0, used=0, want=0, lease_ms=LEASE_MS)
        return got.remaining

    assert await remaining(10, 1) == 0  # it has not been counted
    await pools.release("e", TOTAL, 0, counted=4, allowed=9, version=1)
    assert await remaining(10, 1) == 9
    assert await remaining(8, 2) == 4  # not counted for this cap yet: what is left of it
    assert await remaining(3, 3) == 0
    assert await remaining(10, 4, "decided") == 0
    await pools.release("e", TOTAL, 0)
    assert await remaining(10, 4, "decided") == 10
    assert await remaining(10, 5) == 0
    books = await pools.books("e", TOTAL)
    assert books is not None
    assert (books.counted, books.allowed) == (None, None)


@pytest.fixture
async def runner_free_pools(redis_url: str) -> Any:
    """Pools for a test that is a coroutine."""
    client = make_redis(redis_url)
    await load_functions(client)
    await client.aclose()
    pipe = Pipe(redis_url)
    await pipe.start()
    yield Pools(pipe, Keys(4))
    await pipe.stop()
