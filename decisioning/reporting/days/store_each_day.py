"""Rolling up one day after the other, as all roll-ups by day do it."""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.errors import PostgresUnavailable
from storage.postgres import transaction

log = logging.getLogger(__name__)

DAY = timedelta(days=1)


def start_of(day: date) -> datetime:
    """Return when a day begins (UTC)."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


async def roll_up_each(
    engine: AsyncEngine,
    lock: int,
    due: TextClause,
    today: date,
    roll_up_day: Callable[[date], Awaitable[bool]],
    if_not: str,
) -> int:
    """Roll up the days that are ``due``, unless another worker is at it; return how many were.

    ``due``: a query of days before ``:today``, the time at which that begins. ``lock``: held meanwhile. ``if_not``:
    what is said of a day that could not be rolled up, which keeps no other from it. Raises ``PostgresUnavailable``.
    """
    async with transaction(engine) as connection:
        if not await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": lock}):
            return 0
        done = 0
        for day in (await connection.scalars(due, {"today": start_of(today)})).all():
            try:
                done += await roll_up_day(day)
            except PostgresUnavailable as error:
                # It raises if Postgres is away, or the lock is lost. Otherwise it is the day, and others are not.
                await connection.execute(text("SELECT 1"))
                log.warning("the day %s %s: %s", day, if_not, error)
        return done
