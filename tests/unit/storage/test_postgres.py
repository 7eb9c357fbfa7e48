"""What Postgres raises is told in words, and so is that it takes no writes."""

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.store import _READ as READ_PROFILE
from storage.errors import PostgresUnavailable
from storage.postgres import (
    ROWS_AT_ONCE,
    _operation_and_table,
    describe_refusal,
    find_refusal,
    make_engine,
    postgres_errors,
    single_statement,
    to_dicts,
    trace_statements,
    transaction,
)
from storage.spans import EndSpan


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


async def test_a_single_statement_is_in_force_at_once_and_leaves_the_connection_as_it_was(
    postgres_url: str,
) -> None:
    insert = text("INSERT INTO offers (offer_id) VALUES (:id)")
    engine = make_engine(postgres_url, pool_size=1)

    async def insert_and_fail(begin: Callable[[AsyncEngine], Any], offer_id: str) -> None:
        async with begin(engine) as connection:
            await connection.execute(insert, {"id": offer_id})
            await connection.execute(text("SELECT * FROM nowhere"))

    try:
        for begin in (single_statement, transaction):
            with pytest.raises(PostgresUnavailable, match="nowhere"):
                await insert_and_fail(begin, begin.__name__)
        async with single_statement(engine) as connection:
            rows = await connection.execute(text("DELETE FROM offers RETURNING offer_id"))
            assert [row.offer_id for row in rows] == ["single_statement"]
    finally:
        await engine.dispose()


async def test_statements_are_traced_by_first_word_and_table_alone(postgres_url: str) -> None:
    began: list[tuple[str | None, ...]] = []
    ended: list[bool] = []

    def begin(*call: str | None) -> EndSpan:
        began.append(call)
        return lambda error: ended.append(error is None)

    engine = make_engine(postgres_url, pool_size=1)
    trace_statements(engine, begin)
    try:
        async with transaction(engine) as connection:
            await connection.execute(text("\n select :name AS told"), {"name": "a value"})
            await connection.execute(text("DELETE FROM offers WHERE offer_id = :id"), {"id": "a value"})
        with pytest.raises(PostgresUnavailable):
            async with transaction(engine) as connection:
                await connection.execute(text("SELECT * FROM nowhere"))
    finally:
        await engine.dispose()
    assert [call for call in began if call[2] != "pg_catalog"][-3:] == [
        ("postgresql", "SELECT", None),
        ("postgresql", "DELETE", "offers"),
        ("postgresql", "SELECT", "nowhere"),
    ]
    assert ended[-3:] == [True, True, False]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (READ_PROFILE.text, ("SELECT", "customers")),
        (
            "WITH RECURSIVE chain AS (SELECT a FROM aliases) SELECT c FROM chain JOIN offers USING (a)",
            ("WITH", "offers"),
        ),
        ("WITH chain AS (SELECT a FROM aliases) SELECT c FROM chain", ("WITH", "aliases")),
        ("SELECT n FROM generate_series(1, :most) AS n", ("SELECT", None)),
        ("SELECT nb_subject(x) FROM unnest(array(SELECT y FROM offers)) AS x", ("SELECT", "offers")),
        ("INSERT INTO offers (offer_id) SELECT a FROM groups", ("INSERT", "offers")),
    ],
)
def test_a_statement_is_named_by_the_table_that_it_is_about(
    statement: str, named: tuple[str, str | None]
) -> None:
    assert _operation_and_table(statement) == named


async def test_all_rows_are_read_in_their_order(postgres_url: str) -> None:
    engine = make_engine(postgres_url, pool_size=1)
    numbers = text("SELECT n, 'row ' || n AS name FROM generate_series(1, :most) AS n")
    try:
        for most in (0, 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1):
            expected = [(n, f"row {n}") for n in range(1, most + 1)]
            async with single_statement(engine) as connection:
                rows = to_dicts(await connection.execute(numbers, {"most": most}))
            assert [tuple(row.values()) for row in rows] == expected
    finally:
        await engine.dispose()
