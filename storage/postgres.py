"""Connections to Postgres, and the translation of what drivers raise."""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import CursorResult, ExceptionContext
from sqlalchemy.exc import SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from storage.addresses import parse_postgres
from storage.errors import PostgresUnavailable
from storage.spans import BeginSpan

POSTGRES_ERRORS = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # refused and broken connections, and all that took too long: TimeoutError is one of its kinds
)
"""All that the drivers raise."""
_ABOUT_DATA = ("22", "23")
"""Classes of SQL states whose messages quote what was stored or sent: data, and constraints."""
_NOT_MIGRATED = {"42P01", "42703"}
"""SQL states: undefined table, undefined column."""

REFUSES_WRITES = "refuses writes"
_REFUSALS = {
    "25006": "it is read only (a standby, or default_transaction_read_only)",
    "42501": "the user may not write",
    "53100": "its disk is full",
}
"""What SQL states mean that a server answers writes with, while it reads as ever."""

ROWS_AT_ONCE = 200
"""So many rows are made before other threads may go on: compiled code does not stop in between."""

_OPERATION = re.compile(r"\s*([A-Za-z]+)")
_TABLE = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+([a-z_][a-z_0-9]{2,})\b(?![.(\0])")
_PARENTHESES = re.compile(r"\([^()]*\)")
_QUERY_NAME = re.compile(r"\b([a-z_][a-z_0-9]*) AS (?:NOT )?(?:MATERIALIZED )?\(")
"""The name that ``WITH`` gives a query, which is no table."""
_SPAN = "_nextbest_end_span"

STATEMENT_S = 10.0
PATIENT_S = 3600.0
"""For statements that read the whole log."""


def make_engine(url: str, *, pool_size: int = 5, statement_s: float = STATEMENT_S) -> AsyncEngine:
    """Make an engine for ``postgresql://...``. Waiting for a connection and for a statement is bounded.

    Raises ``InvalidAddress``.
    """
    return create_async_engine(
        "postgresql+asyncpg://",
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=2,
        pool_pre_ping=False,
        async_creator=connector(url, timeout=2, command_timeout=statement_s),
    )


def connector(url: str, **options: Any) -> Callable[[], Awaitable[asyncpg.Connection]]:
    """Make a function that connects to ``url``. It is read by the driver alone, so that TLS and hosts mean one thing.

    ``options``: of ``asyncpg.connect``. Raises ``InvalidAddress``.
    """
    return partial(asyncpg.connect, parse_postgres(url), **options)


def trace_statements(engine: AsyncEngine, begin: BeginSpan) -> None:
    """Begin a span for each statement of ``engine``, named by its first word and its table.

    That is the first one outside of parentheses, or the first at all: what a statement looks up beside it has its own.
    """

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def before(_: Any, __: Any, statement: str, ___: Any, context: Any, ____: bool) -> None:
        setattr(context, _SPAN, begin("postgresql", *_operation_and_table(statement)))

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def after(_: Any, __: Any, ___: str, ____: Any, context: Any, _____: bool) -> None:
        _end_span(context, None)

    @event.listens_for(engine.sync_engine, "handle_error")
    def failed(problem: ExceptionContext) -> None:
        _end_span(problem.execution_context, problem.original_exception)


@lru_cache(maxsize=512)
def _operation_and_table(statement: str) -> tuple[str, str | None]:
    operation = _OPERATION.match(statement)
    outside, replaced = statement, 1
    while replaced:
        outside, replaced = _PARENTHESES.subn("\0", outside)
    queries = {*_QUERY_NAME.findall(statement)}
    tables = [name for part in (outside, statement) for name in _TABLE.findall(part) if name not in queries]
    return operation[1].upper() if operation else "?", tables[0] if tables else None


def _end_span(context: Any, error: BaseException | None) -> None:
    end = getattr(context, _SPAN, None)
    if end is not None:
        delattr(context, _SPAN)
        end(error)


@asynccontextmanager
async def postgres_errors(doing: str = "") -> AsyncIterator[None]:
    """Raise ``PostgresUnavailable`` for what the drivers raise. ``doing`` completes "cannot ..."."""
    try:
        yield
    except POSTGRES_ERRORS as error:
        cause = getattr(error, "orig", None) or error
        if doing:
            # Only the kind of error: messages may quote a customer's data.
            raise PostgresUnavailable(f"cannot {doing}: {type(cause).__name__}") from error
        raise PostgresUnavailable(f"postgres did not answer: {_reason(cause)}") from error


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Run one transaction, committed at the end, rolled back on an exception. Raises ``PostgresUnavailable``."""
    async with postgres_errors(), engine.begin() as connection:
        yield connection


@asynccontextmanager
async def single_statement(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Lend a connection on which each statement is a transaction of its own. Raises ``PostgresUnavailable``.

    That takes one round trip, where a transaction around one statement takes three.
    """
    async with postgres_errors(), engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def find_refusal(engine: AsyncEngine) -> str | None:
    """Say why Postgres would refuse any write; ``None`` if it would not. Raises ``PostgresUnavailable``."""
    async with transaction(engine) as connection:
        read_only = await connection.scalar(text("SELECT current_setting('transaction_read_only')"))
    return _refuses("25006") if read_only == "on" else None


def describe_refusal(error: PostgresUnavailable) -> str | None:
    """Say why Postgres refused a write, by the error that it led to; ``None`` if it failed in another way."""
    cause = getattr(error.__cause__, "orig", None) or error.__cause__
    state = getattr(cause, "sqlstate", None)
    return _refuses(state) if state in _REFUSALS else None


def _refuses(state: str) -> str:
    return f"{REFUSES_WRITES}: {_REFUSALS[state]}"


def to_dicts(rows: CursorResult[Any]) -> list[dict[str, Any]]:
    """Return all rows, by the names of their columns."""
    # Of thousands of rows this takes a third of the time that the mapping of each row does.
    names = tuple(rows.keys())
    return [dict(zip(names, row, strict=True)) for some in _in_turns(rows) for row in some]


def _in_turns(rows: CursorResult[Any]) -> Iterator[Sequence[Any]]:
    """Yield some rows at a time. In between other threads may run: the event loop, where this is not its thread."""
    for some in rows.partitions(ROWS_AT_ONCE):
        yield some
        time.sleep(0)


def where(tests: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Make a ``WHERE`` of those tests whose value is not ``None``, and its parameters; empty if there are none.

    A test is a column and an operator, such as ``version <``; its parameter is named like the column.
    """
    values = {test.split()[0]: value for test, value in tests.items() if value is not None}
    given = [f"{test} :{test.split()[0]}" for test, value in tests.items() if value is not None]
    return f"WHERE {' AND '.join(given)}" if given else "", values


def _reason(cause: BaseException) -> str:
    """Shorten what the server or the driver says to a line; of an error about data, which quotes it, the kind."""
    state = getattr(cause, "sqlstate", None)
    if isinstance(cause, StatementError) or (state or "").startswith(_ABOUT_DATA):
        return type(cause).__name__
    said = str(cause).partition("\n")[0] or type(cause).__name__
    return f"{said}; run 'nextbest migrate'" if getattr(cause, "sqlstate", None) in _NOT_MIGRATED else said
