"""Settings that are fixed when nextbest is installed."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.postgres import transaction


async def installed_buckets(engine: AsyncEngine, buckets: int) -> int:
    """Return the number of buckets of this installation; the first caller fixes it. Raises ``PostgresUnavailable``."""
    async with transaction(engine) as connection:
        await connection.execute(
            text("INSERT INTO installation (buckets) VALUES (:buckets) ON CONFLICT DO NOTHING"),
            {"buckets": buckets},
        )
        return int(await connection.scalar(text("SELECT buckets FROM installation")) or 0)
