"""Connections for background work say and read what the driver's own do."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import DataError

from storage.redis import make_redis, read_streams


@pytest.fixture
async def clients(redis_url: str) -> AsyncIterator[tuple[Any, Any]]:
    """Ours, and the driver's own."""
    async with make_redis(redis_url) as ours, Redis.from_url(redis_url, protocol=2) as plain:
        yield ours, plain


async def test_streams_are_read_as_the_driver_reads_them(clients: tuple[Any, Any]) -> None:
    ours, plain = clients
    for number in range(5):
        for name in ("first", "second"):
            await ours.xadd(name, {b"\x00\xff": str(number).encode(), "ñ": "\r\n", "empty": ""})
    await ours.xtrim("second", maxlen=0)
    positions = {"first": "0", "second": "0", "none": "0"}
    for count in (2, 100):
        expected = [tuple(one) for one in await plain.xread(positions, count=count)]
        found = await read_streams(ours, positions, count=count, block_ms=None)
        assert found == expected
        assert [(key, len(entries)) for key, entries in found] == [(b"first", min(count, 5))]
    behind = {"first": found[0][1][-1][0].decode()}
    for block_ms in (None, 5):
        assert await read_streams(ours, behind, count=1, block_ms=block_ms) == []


async def test_commands_are_packed_as_the_driver_packs_them(clients: tuple[Any, Any]) -> None:
    ours, plain = clients
    values = {"text": "ñandú\r\n", "bytes": b"\x00\xff", "int": -7, "float": 0.1, "empty": ""}
    for name, value in values.items():
        await ours.set(f"ours-{name}", value)
        await plain.set(f"plain-{name}", value)
        assert await plain.get(f"ours-{name}") == await plain.get(f"plain-{name}") is not None
    assert await ours.execute_command("OBJECT ENCODING", "ours-int") == b"int"  # a command of two words
    async with ours.pipeline(transaction=True) as pipe:
        pipe.incrby("ours-int", 9).get("ours-int")
        assert await pipe.execute() == [2, b"2"]


async def test_what_cannot_be_packed_is_refused_as_by_the_driver(clients: tuple[Any, Any]) -> None:
    for client in clients:
        with pytest.raises(DataError):
            await client.set("none", None)
    assert await clients[0].get("none") is None
