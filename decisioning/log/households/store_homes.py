"""The household that a customer belongs to now."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.postgres import transaction

_HOME = text("SELECT household_id FROM customers WHERE customer_id = :customer_id")


class Homes:
    """Reads households of customers."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def of(self, customer_id: str) -> str | None:
        """Read the household of a customer; ``None`` for who has none. Raises ``PostgresUnavailable``."""
        async with transaction(self._engine) as connection:
            found: str | None = await connection.scalar(_HOME, {"customer_id": customer_id})
            return found
