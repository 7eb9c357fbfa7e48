"""Customers who were stored under ids that are not in their one form, by earlier versions."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.store_cache import ProfileCache
from storage.postgres import postgres_errors

_ODD = text("SELECT odd, normal FROM odd_customer_ids()")
_COPY = text("SELECT copy_odd_customer_ids()")
_REMOVE = tuple(
    text(f"DELETE FROM {table} WHERE customer_id = ANY(:ids)")
    for table in ("customers", "consent_records", "propensities", "suppressions")
)


@dataclass(frozen=True, slots=True)
class OddId:
    """A stored id, and the one that its customer is looked up by; ``None`` if nobody can be asked about by any."""

    stored: str
    normal: str | None


async def read_odd_ids(engine: AsyncEngine) -> list[OddId]:
    """List the stored ids that are not in their one form; it looks at all ids. Raises ``PostgresUnavailable``."""
    async with postgres_errors("read ids of customers"), engine.connect() as connection:
        return [OddId(row[0], row[1]) for row in await connection.execute(_ODD)]


async def mend_odd_ids(engine: AsyncEngine, cache: ProfileCache) -> list[OddId]:
    """Move what is stored under odd ids to the normal ones, and remove what has none; returns what it found.

    Where there is a record already it stays, with the objections of both; of entries in suppression lists the later end
    counts. May be repeated. Raises ``Unavailable``.
    """
    found = await read_odd_ids(engine)
    normal = sorted({odd.normal for odd in found if odd.normal is not None})
    async with (
        cache.changing(normal),
        postgres_errors("mend ids of customers"),
        engine.begin() as connection,
    ):
        await connection.execute(_COPY)
        for statement in _REMOVE:
            await connection.execute(statement, {"ids": [odd.stored for odd in found]})
    return found
