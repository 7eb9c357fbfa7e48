"""Customers whose attribute may hold a day that is due, and the right to make triggers on dates fire for them."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.triggers.store_following import TriggerTurn
from profiles.privacy.store_erasures import LOCK_STORING
from storage.clock import to_datetime
from storage.locks import TRIGGER_DAYS_LOCK
from storage.postgres import transaction

# By the index that is on nb_dates, with what it makes of an attribute.
_HELD = text("""
SELECT customer_id, attributes ->> :name AS value, attributes ->> 'time_zone' AS time_zone FROM customers
WHERE nb_dates(attributes) @> ARRAY[cast(:date AS text)]
""")
# Not where the trigger has been paused since, or is live again: it begins anew with when that was.
_MOVE_SCAN = text("""
UPDATE trigger_scans SET scanned_until = :until WHERE trigger_id = :trigger_id AND scanned_until = :since
""")


@dataclass(frozen=True, slots=True)
class HeldDate:
    """The value of the attribute of a customer, and the customer's own time zone, as they are stored."""

    customer_id: str
    value: str
    time_zone: Any


class DaysTurn(TriggerTurn):
    """The right to fire for days."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection)
        self._days = connection

    async def existing(self, customer_ids: Collection[str]) -> set[str]:
        """Pick out customers of whom there is a record still: none that an erasure took meanwhile."""
        query = text("SELECT customer_id FROM customers WHERE customer_id = ANY(:ids)")
        return {row.customer_id for row in await self._days.execute(query, {"ids": list(customer_ids)})}

    async def move_scan(self, trigger_id: str, since_ms: int, until_ms: int) -> None:
        """Note up to when has been looked, unless somebody has moved or forgotten where that began (Unix ms)."""
        values = {"trigger_id": trigger_id, "since": to_datetime(since_ms), "until": to_datetime(until_ms)}
        await self._days.execute(_MOVE_SCAN, values)


class DaysStore:
    """Reads customers by dates. ``engine``: one that may take long over a statement.

    Methods raise ``PostgresUnavailable``.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[DaysTurn | None]:
        """Hold the only right to fire for days; ``None`` if somebody else has it."""
        async with transaction(self._engine) as connection:
            values = {"lock": TRIGGER_DAYS_LOCK}
            mine = await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), values)
            if mine:
                # An erasure takes the record before what fired: either finds what the other left.
                await connection.execute(LOCK_STORING)
            yield DaysTurn(connection) if mine else None

    async def held(self, name: str, day: str, most: int) -> AsyncGenerator[Sequence[HeldDate]]:
        """Yield the customers whose attribute holds a date, as ``days.held_between`` writes it, up to ``most`` at once.

        Any number may hold the same one, such as what a system puts where it knows none.
        """
        values = {"name": name, "date": f"{name} {day}"}
        async with transaction(self._engine) as connection:
            stream = await connection.stream(_HELD, values, execution_options={"yield_per": most})
            async for rows in stream.partitions(most):
                yield [HeldDate(row.customer_id, row.value, row.time_zone) for row in rows]
