"""The pipe to Redis: replies in order, errors to their callers, and lost connections made again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from storage.errors import FunctionsUnavailable, RedisUnavailable
from storage.keys import INSTALLATION
from storage.redis_pipe import Pipe, RedisReplyError
from storage.redis_server import RedisServer
from storage.spans import EndSpan


@asynccontextmanager
async def connected(url: str, *, stall_ms: int = 500) -> AsyncIterator[Pipe]:
    """Give a pipe that has been started."""
    pipe = Pipe(url, stall_ms=stall_ms, retry_ms=10)
    await pipe.start()
    try:
        yield pipe
    finally:
        await pipe.stop()


async def until_connected(pipe: Pipe) -> None:
    """Wait for the connection to come back."""
    async with asyncio.timeout(10):
        while not pipe.connected:  # noqa: ASYNC110  # it has no event to wait for
            await asyncio.sleep(0.01)


async def test_replies_come_in_order_and_an_error_is_its_own_callers(redis_url: str) -> None:
    async with connected(redis_url) as pipe:
        sent = [pipe.call("ECHO", str(number)) for number in range(100)]
        wrong = pipe.call("NO-SUCH-COMMAND")
        after = pipe.call("ECHO", "after")
        assert [int(reply) for reply in await asyncio.gather(*sent)] == list(range(100))
        with pytest.raises(RedisReplyError, match="unknown command"):
            await wrong
        assert await after == b"after"


async def test_a_caller_that_stops_waiting_does_not_shift_replies(redis_url: str) -> None:
    async with connected(redis_url) as pipe:
        given_up, next_one = pipe.call("ECHO", "given up"), pipe.call("ECHO", "next")
        given_up.cancel()
        assert await next_one == b"next"


async def test_of_commands_that_are_sent_together_each_has_its_reply_or_its_error(redis_url: str) -> None:
    async with connected(redis_url) as pipe:
        one, wrong, two = await pipe.call_all([("ECHO", "one"), ("NO-SUCH-COMMAND",), ("ECHO", "two")])
        assert (one, type(wrong), two) == (b"one", RedisReplyError, b"two")
        (lacking,) = await pipe.functions("nb_none", [((), ())])
        assert isinstance(lacking, FunctionsUnavailable)
        assert pipe.lacks_functions.is_set()
        assert await pipe.call_all([]) == []
        waiting = asyncio.ensure_future(
            pipe.call_all([("BLPOP", "nothing-comes", 0.05), ("ECHO", "given up")])
        )
        await asyncio.sleep(0)
        waiting.cancel()
        assert await pipe.call("ECHO", "next") == b"next"
    gone = await pipe.call_all([("PING",), ("PING",)])
    assert [type(one) for one in gone] == [RedisUnavailable] * 2


async def test_a_lost_connection_fails_who_waits_and_is_made_again(redis_url: str) -> None:
    async with connected(redis_url) as pipe, connected(redis_url) as other:
        number = await pipe.call("CLIENT", "ID")
        waiting = pipe.call("BLPOP", "nothing-comes", 10)
        await other.call("CLIENT", "KILL", "ID", number)
        with pytest.raises(RedisUnavailable, match="lost"):
            await waiting
        with pytest.raises(RedisUnavailable, match="cannot be reached"):
            pipe.call("PING")
        await until_connected(pipe)
        assert await pipe.call("PING") == b"PONG"


async def test_a_server_that_does_not_answer_is_taken_as_gone(redis_url: str) -> None:
    async with connected(redis_url, stall_ms=50) as pipe:
        waiting = pipe.call("BLPOP", "nothing-comes", 10)
        async with asyncio.timeout(5):
            with pytest.raises(RedisUnavailable):
                await waiting
        await until_connected(pipe)


async def test_without_a_server_commands_fail_at_once() -> None:
    async with connected("redis://127.0.0.1:1/0") as pipe:
        assert not pipe.connected
        with pytest.raises(RedisUnavailable):
            pipe.call("PING")


async def test_a_stopped_pipe_is_not_connected(redis_url: str) -> None:
    async with connected(redis_url) as pipe:
        assert await pipe.call("PING") == b"PONG"
    assert not pipe.connected
    with pytest.raises(RedisUnavailable):
        pipe.call("PING")


async def test_a_server_that_evicts_is_not_used_until_that_is_mended(redis_url: str) -> None:
    async with connected(redis_url) as other:
        await other.call("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "volatile-lru")
        try:
            async with connected(redis_url) as pipe:
                assert "maxmemory-policy is volatile-lru" in (pipe.refusal or "")
                with pytest.raises(RedisUnavailable):
                    pipe.call("PING")
                await other.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
                await until_connected(pipe)
                assert pipe.refusal is None
        finally:
            await other.call("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")


async def test_a_database_of_another_installation_is_refused(redis_url: str) -> None:
    async with connected(redis_url) as ours, connected(redis_url) as theirs:
        await ours.call("DEL", INSTALLATION)
        await ours.claim("ours")
        await ours.claim("ours")
        assert ours.refusal is None
        await theirs.claim("theirs")
        assert "another installation" in (theirs.refusal or "")
        await asyncio.sleep(0.1)  # it tries again, and again finds the database taken
        assert not theirs.connected
        await ours.call("DEL", INSTALLATION)
        await until_connected(theirs)
        assert await theirs.call("GET", INSTALLATION) == b"theirs"
        await theirs.call("DEL", INSTALLATION)


async def test_who_asked_is_told_of_another_server_before_anybody_writes_to_it(redis_url: str) -> None:
    async with connected(redis_url) as pipe, connected(redis_url) as other:
        told: list[asyncio.Future[bytes]] = []
        pipe.on_server = lambda send: told.append(send(("ECHO", "told again")))
        number = await pipe.call("CLIENT", "ID")
        await other.call("CLIENT", "KILL", "ID", number)
        await until_connected(pipe)
        assert not told  # the same server, not started again
        pipe.server = RedisServer(run_id="an-earlier-one")
        number = await pipe.call("CLIENT", "ID")
        await other.call("CLIENT", "KILL", "ID", number)
        await until_connected(pipe)
        assert [await reply for reply in told] == [b"told again"]
        assert len(pipe.server.run_id) == 40


async def test_commands_are_traced_by_their_names_alone(redis_url: str) -> None:
    began: list[tuple[str, str, str | None]] = []
    ended: list[str | None] = []

    def begin(*call: str | None) -> EndSpan:
        began.append(cast(Any, call))
        return lambda error: ended.append(None if error is None else type(error).__name__)

    async with connected(redis_url) as pipe:
        pipe.begin_span = begin
        await pipe.call("SET", "a-key", "a-value", "PX", 1)
        with contextlib.suppress(FunctionsUnavailable):
            await pipe.function("nb_none", ["a-key"], "an-argument")
        pipe.call("GET", "a-key").cancel()
        pipe.begin_span = lambda *call: None
        await pipe.call("PING")
    assert began == [("redis", "SET", None), ("redis", "FCALL", "nb_none"), ("redis", "GET", None)]
    assert ended == [None, "RedisReplyError", None]
