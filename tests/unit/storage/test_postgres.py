"""What Postgres raises is told in words, and so is that it takes no writes."""

import asyncpg
import pytest

from storage.errors import PostgresUnavailable
from storage.postgres import describe_refusal, find_refusal, make_engine, postgres_errors


async def test_a_server_that_takes_writes_has_no_refusal(postgres_url: str) -> None:
    engine = make_engine(postgres_url, pool_size=1)
    try:
        assert await find_refusal(engine) is None
    finally:
        await engine.dispose()


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (asyncpg.ReadOnlySQLTransactionError("cannot execute"), "refuses writes: it is read only"),
        (asyncpg.DiskFullError("no space"), "refuses writes: its disk is full"),
        (asyncpg.InsufficientPrivilegeError("denied"), "refuses writes: the user may not write"),
        (asyncpg.UniqueViolationError("twice"), None),
        (OSError("gone"), None),
    ],
)
async def test_refused_writes_are_told_from_other_failures(error: Exception, described: str | None) -> None:
    with pytest.raises(PostgresUnavailable) as raised:
        async with postgres_errors():
            raise error
    found = describe_refusal(raised.value)
    assert (found is None) == (described is None)
    assert described is None or (found or "").startswith(described)
