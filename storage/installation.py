"""Settings that are fixed when nextbest is installed."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.postgres import transaction


@dataclass(frozen=True, slots=True)
class InstallationRecord:
    """The id of an installation, and into how many buckets its customers are divided."""

    id: str
    buckets: int


async def read_installation(engine: AsyncEngine, buckets: int) -> InstallationRecord:
    """Read the record of this installation; the first caller fixes it. Raises ``PostgresUnavailable``."""
    async with transaction(engine) as connection:
        await connection.execute(
            text("INSERT INTO installation (buckets) VALUES (:buckets) ON CONFLICT DO NOTHING"),
            {"buckets": buckets},
        )
        row = (await connection.execute(text("SELECT id, buckets FROM installation"))).one()
        return InstallationRecord(str(row.id), row.buckets)
