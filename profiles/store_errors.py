"""Driver exceptions become this package's own at the border."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from redis.exceptions import RedisClusterException, RedisError
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from profiles.errors import ProfilesUnavailable

DRIVER_ERRORS: tuple[type[Exception], ...] = (
    DBAPIError,
    PendingRollbackError,
    PoolTimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    RedisError,
    RedisClusterException,
    OSError,  # refused and broken connections, and asyncio's timeouts
)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn driver errors into ``ProfilesUnavailable``; ``what`` completes "cannot ..."."""
    try:
        yield
    except DRIVER_ERRORS as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        raise ProfilesUnavailable(f"cannot {what}: {type(cause).__name__}") from error
