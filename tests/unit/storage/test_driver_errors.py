"""No driver's exception gets out of the stores."""

import asyncio
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest
import redis.exceptions
import sqlalchemy.exc
import uvloop

from storage.errors import PostgresUnavailable, RedisUnavailable, Unavailable
from storage.postgres import POSTGRES_ERRORS, postgres_errors
from storage.redis import REDIS_ERRORS, redis_errors


def public_errors(found: list[object]) -> list[type[Exception]]:
    """Pick the classes of exceptions that are no warnings."""
    return [
        error
        for error in found
        if isinstance(error, type)
        and issubclass(error, Exception)
        and not issubclass(error, Warning | asyncpg.PostgresLogMessage)
    ]


def test_every_error_of_postgres_drivers_is_translated() -> None:
    found: list[object] = [getattr(asyncpg.exceptions, name) for name in asyncpg.exceptions.__all__]
    todo: list[type[BaseException]] = [
        sqlalchemy.exc.TimeoutError,
        sqlalchemy.exc.PendingRollbackError,
        sqlalchemy.exc.DBAPIError,
    ]
    while todo:
        found.append(todo[-1])
        todo[-1:] = todo[-1].__subclasses__()
    errors = public_errors(found)
    assert len(errors) > 180
    assert {error.__name__ for error in errors if not issubclass(error, POSTGRES_ERRORS)} == set()


def test_every_error_of_the_redis_driver_is_translated() -> None:
    errors = public_errors([*vars(redis.exceptions).values()])
    assert len(errors) > 20
    left = {error.__name__ for error in errors if not issubclass(error, REDIS_ERRORS)}
    assert left <= {"ChildDeadlockedError", "IncorrectPolicyType"}  # misuse of redis-py, and no outage


@pytest.mark.parametrize(
    ("errors", "error", "kind", "message"),
    [
        (redis_errors("knit"), redis.exceptions.ConnectionError("to ann"), RedisUnavailable, "cannot knit: "),
        (
            redis_errors(),
            redis.exceptions.ConnectionError("no"),
            RedisUnavailable,
            "redis did not answer: no",
        ),
        (postgres_errors("knit"), ConnectionRefusedError("to ann"), PostgresUnavailable, "cannot knit: "),
        (postgres_errors("knit"), TimeoutError(), PostgresUnavailable, "cannot knit: TimeoutError"),
        (postgres_errors(), TimeoutError(), PostgresUnavailable, "postgres did not answer: TimeoutError"),
        (postgres_errors(), OSError("no\nhow"), PostgresUnavailable, "postgres did not answer: no"),
        (
            postgres_errors(),
            asyncpg.exceptions.DataError("invalid input for query argument $1: 'ann'"),
            PostgresUnavailable,
            "postgres did not answer: DataError",
        ),
        (
            postgres_errors(),
            asyncpg.exceptions.InvalidTextRepresentationError('invalid input syntax: "ann"'),
            PostgresUnavailable,
            "postgres did not answer: InvalidTextRepresentationError",
        ),
    ],
)
async def test_the_message_says_what_failed_and_how(
    errors: AbstractAsyncContextManager[None], error: Exception, kind: type[Unavailable], message: str
) -> None:
    with pytest.raises(kind) as caught:
        async with errors:
            raise error
    expected = message + type(error).__name__ if message.endswith(": ") else message
    assert (str(caught.value), caught.value.__cause__) == (expected, error)


@pytest.mark.parametrize("errors", [redis_errors("knit"), postgres_errors("knit")])
async def test_other_errors_stay_what_they_are(errors: AbstractAsyncContextManager[None]) -> None:
    with pytest.raises(KeyError):
        async with errors:
            raise KeyError


def test_a_write_to_a_connection_that_was_reset_is_an_outage_and_no_defect() -> None:
    """uvloop raises ``RuntimeError`` there, and redis-py lets it pass."""

    async def write_to_closed() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.transport.abort()
            await asyncio.sleep(0)
            async with redis_errors():
                writer.write(b"PING")
                writer.transport.writelines([b"PING"])

    with pytest.raises(RedisUnavailable, match="it closed the connection"):
        uvloop.run(write_to_closed())


async def test_other_defects_are_not_taken_for_outages() -> None:
    with pytest.raises(RuntimeError, match="ours"):
        async with redis_errors():
            raise RuntimeError("ours")
