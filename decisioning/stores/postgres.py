"""Connections to Postgres, and the translation of what drivers raise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from decisioning.errors import PostgresUnavailable


def make_engine(url: str, *, pool_size: int = 5) -> AsyncEngine:
    """An engine for ``postgresql://...``. Waiting for a connection and for a statement is bounded."""
    return create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=2,
        pool_pre_ping=False,
        connect_args={"timeout": 2, "command_timeout": 10},
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
        raise PostgresUnavailable(f"postgres did not answer: {error}") from error
