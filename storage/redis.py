"""Connections to Redis for background work, and the translation of what the driver raises."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import hiredis
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import DataError, RedisClusterException, RedisError

from storage.addresses import parse_redis
from storage.errors import RedisUnavailable

REDIS_ERRORS = (RedisError, RedisClusterException, OSError)
"""All that the driver raises; ``TimeoutError`` is an ``OSError``."""

_CLOSED = "the handler is closed"
"""Ends the message of the ``RuntimeError`` with which uvloop refuses to write to a connection that was reset."""

Streams = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]
"""What was read of streams: of each the key, and its entries with their positions."""


class _Packed:
    """A connection of the driver that packs commands in C; arguments are text, bytes and numbers."""

    def pack_command(self, *args: Any) -> list[bytes]:
        words = args[0] if isinstance(args[0], bytes) else args[0].encode()
        try:
            return [hiredis.pack_command((*words.split(), *args[1:]))]
        except TypeError as error:
            raise DataError(str(error)) from error


class _PackedConnection(_Packed, Connection):
    pass


class _PackedSSLConnection(_Packed, SSLConnection):
    pass


class _PackedUnixConnection(_Packed, UnixDomainSocketConnection):
    pass


_PACKED = {
    Connection: _PackedConnection,
    SSLConnection: _PackedSSLConnection,
    UnixDomainSocketConnection: _PackedUnixConnection,
}


def make_redis(url: str, *, timeout_s: float = 10.0) -> "Redis":
    """Make a client for background work (the path of a decision has its own, see ``redis_pipe``).

    Streams that it reads by XREAD have the form ``Streams``. Raises ``InvalidAddress``.
    """
    # It never sends a command again by itself: whoever reads on after Redis was restarted must know that it was,
    # because what comes then may not follow on what came before.
    pool = ConnectionPool.from_url(
        parse_redis(url).url,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
    )
    pool.connection_class = _PACKED[pool.connection_class]
    redis = Redis.from_pool(pool)
    redis.set_response_callback("XREAD", _streams)  # type: ignore[arg-type]
    return redis


async def read_streams(
    redis: "Redis", positions: Mapping[str, str], *, count: int, block_ms: int | None
) -> Streams:
    """Read up to ``count`` entries of each stream behind a position; waits up to ``block_ms`` for one.

    For a client of ``make_redis``. Streams without such entries are left out. As the driver's ``xread``, but a look at
    64 streams takes half of the processor time.
    """
    block = () if block_ms is None else ("BLOCK", block_ms)
    command = ("XREAD", *block, "COUNT", count, "STREAMS", *positions, *positions.values())
    found: Streams = await redis.execute_command(*command)  # type: ignore[no-untyped-call]
    return found


def _streams(reply: Sequence[Any] | None, **_options: Any) -> Streams:
    return [
        # Names and values alternate: one iterator gives both.
        (key, [(at, dict(zip(*[iter(said)] * 2, strict=True))) for at, said in entries])
        for key, entries in reply or ()
    ]


@asynccontextmanager
async def redis_errors(doing: str = "") -> AsyncIterator[None]:
    """Raise ``RedisUnavailable`` for what the driver and its loop raise. ``doing`` completes "cannot ..."."""
    try:
        yield
    except REDIS_ERRORS as error:
        if doing:
            # Only the kind of error: messages may quote a customer's data.
            raise RedisUnavailable(f"cannot {doing}: {type(error).__name__}") from error
        raise RedisUnavailable(f"redis did not answer: {error}") from error
    except RuntimeError as error:
        if _CLOSED not in str(error):
            raise
        raise RedisUnavailable("redis did not answer: it closed the connection") from error
