"""Connections to Postgres, and the translation of what drivers raise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from storage.errors import PostgresUnavailable

_NOT_MIGRATED = {"42P01", "42703"}
"""SQL states: undefined table, undefined column."""


STATEMENT_S = 10.0
PATIENT_S = 3600.0
"""For statements that read the whole log."""


def make_engine(url: str, *, pool_size: int = 5, statement_s: float = STATEMENT_S) -> AsyncEngine:
    """An engine for ``postgresql://...``. Waiting for a connection and for a statement is bounded."""
    return create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=2,
        pool_pre_ping=False,
        connect_args={"timeout": 2, "command_timeout": statement_s},
    )


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction; committed at the end, rolled back on an exception.

    Raises
    ------
    PostgresUnavailable
        If Postgres cannot be reached, or does not answer in time.
    """
    try:
        async with engine.begin() as connection:
            yield connection
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise PostgresUnavailable(f"postgres did not answer: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What the server or the driver says, in a line."""
    cause = getattr(error, "orig", None) or error
    said = str(cause).partition("\n")[0] or type(cause).__name__
    return f"{said}; run 'nextbest migrate'" if getattr(cause, "sqlstate", None) in _NOT_MIGRATED else said
