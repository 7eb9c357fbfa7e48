"""Reports that a request waits for: given up after a time, with the way out."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.errors import Invalid
from storage.errors import PostgresUnavailable
from storage.postgres import transaction

TIMEOUT_S = 8
"""A report that takes longer is given up."""
_CANCELED = "57014"
_SET = text("""
SELECT set_config(s.name, s.given, true) FROM unnest(cast(:names AS text[]), cast(:given AS text[])) AS s (name, given)
""")
PLANNING = {"enable_nestloop": "off", "jit": "off", "work_mem": "64MB"}
"""How much there is between bounds that it computes itself, the planner does not know: outcomes are hashed."""


@asynccontextmanager
async def bounded(
    engine: AsyncEngine,
    timeout_s: float,
    way_out: str,
    field: str = "since",
    settings: Mapping[str, str] = PLANNING,
) -> AsyncIterator[AsyncConnection]:
    """Give a connection for a report, which sees one state of the tables. ``field``: of the request, which errors name.

    ``settings``: of Postgres.

    Raises ``Invalid`` if a statement takes longer, and ``PostgresUnavailable``.
    """
    try:
        async with transaction(engine.execution_options(isolation_level="REPEATABLE READ")) as connection:
            given = {**settings, "statement_timeout": str(round(timeout_s * 1000))}
            await connection.execute(_SET, {"names": [*given], "given": [*given.values()]})
            yield connection
    except PostgresUnavailable as error:
        cause = getattr(error.__cause__, "orig", None)
        if getattr(cause, "sqlstate", None) != _CANCELED:
            raise
        raise Invalid(field, f"the report takes longer than {timeout_s} s: {way_out}") from None
