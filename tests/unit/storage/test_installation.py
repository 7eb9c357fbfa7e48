"""The claim of an installation on one Redis database: two at once are refused, one that was replaced is not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.errors import RedisUnavailable
from storage.installation import TAKEN, RedisClaim, read_installation
from storage.keys import DATABASE
from storage.postgres import make_engine, transaction
from storage.redis import make_redis
from storage.redis_pipe import Pipe
from tests.support.waiting import eventually


@dataclass
class Process:
    """What a process has of a Redis database, and its part in the claim on it."""

    redis: Any
    pipe: Pipe
    claim: RedisClaim


@asynccontextmanager
async def process(engine: AsyncEngine, redis_url: str) -> AsyncIterator[Process]:
    """One that has just started."""
    redis, pipe = make_redis(redis_url), Pipe(redis_url, retry_ms=10)
    await pipe.start()
    try:
        yield Process(redis, pipe, RedisClaim(engine, redis, pipe))
    finally:
        await pipe.stop()
        await redis.aclose()


@pytest_asyncio.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """An installation that uses no Redis yet."""
    made = make_engine(postgres_url, pool_size=1)
    await read_installation(made, 4)
    await lapse(made)
    yield made
    await made.dispose()


@pytest.fixture
def other_url(redis_url: str) -> str:
    """Another database of the same server."""
    return redis_url.rsplit("/", 1)[0] + "/1"


async def lapse(engine: AsyncEngine) -> None:
    """Let time pass."""
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE installation SET redis_seen_at = now() - interval '11 s'"))


async def test_a_second_redis_is_refused_while_the_first_is_in_use(
    engine: AsyncEngine, redis_url: str, other_url: str
) -> None:
    async with process(engine, redis_url) as first, process(engine, other_url) as second:
        assert await first.claim.renew()
        assert not await second.claim.renew()
        assert second.pipe.refusal == TAKEN
        with pytest.raises(RedisUnavailable):
            second.pipe.call("PING")
        assert await first.claim.renew()
        assert (first.pipe.refusal, first.claim.warning) == (None, None)
        await lapse(engine)
        assert await second.claim.renew()

        async def connected() -> bool:
            return second.pipe.connected

        await eventually(connected, "the second database to be used")
        # Whoever runs is not stopped: it may be the database that was replaced.
        assert not await first.claim.renew()
        assert (first.pipe.refusal, first.claim.warning) == (None, TAKEN)
        assert await first.pipe.call("PING") == b"PONG"


async def test_a_redis_that_was_emptied_or_moved_is_the_same(
    engine: AsyncEngine, redis_url: str, other_url: str
) -> None:
    async with process(engine, redis_url) as first:
        assert await first.claim.renew()
        await first.redis.flushdb()
        mark = None
        for _ in range(2):
            async with process(engine, redis_url) as started:
                assert await started.claim.renew()
                mark = await started.redis.get(DATABASE)
        assert mark is not None
        async with process(engine, other_url) as moved:
            await moved.redis.set(DATABASE, mark)
            assert await moved.claim.renew()


async def test_without_an_installation_nothing_is_claimed(engine: AsyncEngine, redis_url: str) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text("DELETE FROM installation"))
    async with process(engine, redis_url) as first:
        assert await first.claim.renew()
