"""The header of a waiting decision is read from its record in the log, wherever that is moved to."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from decisioning.log.codec import marked_position
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader
from decisioning.model.position import StreamPosition
from storage.keys import Keys
from storage.redis import make_redis
from tests.support import contact_world as world

NOW_MS = 1_800_000_000_000
AHEAD = StreamPosition("1900000000000-7")


@pytest_asyncio.fixture
async def log(redis_url: str) -> AsyncIterator[RedisLog]:
    async with world.redis_log(redis_url, 1) as made:
        yield made


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    client: Any = make_redis(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.mark.parametrize(
    ("mark", "position"),
    [
        (b"0", "1800000000000-0"),
        (b"17:3", "1800000000017-3"),
        (b"-20", "1799999999980-0"),
    ],
)
def test_a_mark_tells_the_position(mark: bytes, position: str) -> None:
    assert marked_position(mark, str(NOW_MS).encode()) == position


async def test_records_that_move_to_other_positions_are_found(redis: Any, log: RedisLog) -> None:
    reader, view = LogReader(redis, Keys(1)), world.catalogue().view("web")
    names = ["own-1", "own-2", "own-3"]
    for name in names:
        assert (await world.decide(log, view, world.customer(name), name, ["gold"], NOW_MS)).written
    entries = await redis.xrange(log.keys.log(0))
    keep = [StreamPosition(position.decode()) for position, _ in entries]
    assert await reader.resume(0, keep[-1], AHEAD, keep)
    for name in names:
        read = await log.read(name, False, name)
        assert read.earlier is not None
        assert read.earlier.decision_id == name
        assert b'"decision_id":"' + name.encode() in (await log.waiting(0, name))["h"]
    positions = [position for position, _ in await redis.xrange(log.keys.log(0))]
    assert positions[1:] == [b"1900000000000-8", b"1900000000000-9", b"1900000000000-10"]


async def test_another_record_at_its_position_is_not_taken_for_it(redis: Any, log: RedisLog) -> None:
    view = world.catalogue().view("web")
    await world.decide(log, view, world.customer("ann"), "own-1", ["gold"], NOW_MS)
    ((position, fields),) = await redis.xrange(log.keys.log(0))
    await redis.delete(log.keys.log(0))
    await redis.xadd(log.keys.log(0), fields | {b"id": b"own-2"}, id=position)
    read = await log.read("ann", False, "own-1")
    assert (read.here, read.earlier) == (True, None)
    assert "h" not in await log.waiting(0, "own-1")
    reply = await world.decide(log, view, world.customer("ann"), "own-1", ["blue"], NOW_MS + 5)
    assert (reply.written, reply.here, reply.earlier) == (False, True, None)
    assert await redis.hget(log.keys.decision(0, "own-1"), "g") == b"1"


async def test_what_is_told_again_is_not_handed_out(redis: Any, log: RedisLog) -> None:
    view = world.catalogue().view("web")
    for _ in range(2):
        reply = await world.decide(log, view, world.customer("ann"), "d1", ["gold"], NOW_MS)
    assert reply.here
    assert await redis.hget(log.keys.decision(0, "d1"), "g") is None


async def test_expectations_of_more_offers_than_share_a_field(redis: Any, log: RedisLog) -> None:
    view = world.catalogue(policies={}).view("web")
    offers = ["gold", "blue", "home", "bill", "news"]
    assert (await world.decide(log, view, world.customer("ann"), "d5", offers, NOW_MS)).written
    stored = await redis.hgetall(log.keys.decision(0, "d5"))
    assert (len(stored[b"e0"]), len(stored[b"e4"])) == (64, 16)
    status, _ = await world.tell(log, 0, "d5", "news", "accepted", None, NOW_MS + 1, NOW_MS + 1, 300_000)
    assert status == "recorded"
    entry = (await redis.xrevrange(log.keys.log(0), count=1))[0][1]
    assert entry[b"e"] == b"0.5:1"
