"""Connections to Redis for background work, and the translation of what the driver raises."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from storage.addresses import parse_redis
from storage.errors import RedisUnavailable

REDIS_ERRORS = (RedisError, RedisClusterException, OSError)
"""All that the driver raises; ``TimeoutError`` is an ``OSError``."""

_CLOSED = "the handler is closed"
"""Ends the message of the ``RuntimeError`` with which uvloop refuses to write to a connection that was reset."""


def make_redis(url: str, *, timeout_s: float = 10.0) -> "Redis":
    """Make a client for background work (the path of a decision has its own, see ``redis_pipe``).

    Raises ``InvalidAddress``.
    """
    # It never sends a command again by itself: whoever reads on after Redis was restarted must know that it was,
    # because what comes then may not follow on what came before.
    retry = Retry(NoBackoff(), 0)
    return Redis.from_url(
        parse_redis(url).url,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=2.0,
        retry=retry,
    )


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
