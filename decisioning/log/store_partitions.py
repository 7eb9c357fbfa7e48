"""Partitions of the archived log: a month each, made ahead of the batches that need them, and bounded in number.

A query that cannot be pruned locks every partition and its indexes, and the server has a fixed number of locks for all
of its connections. So only months of the last years have a partition of their own; what is older, as imported history
may be, is in the default partition.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import asyncpg

from storage.clock import to_datetime

log = logging.getLogger(__name__)

MONTHS_BACK = 36
MONTHS_AHEAD = 2
MAX_AT_ONCE = 6
"""Months that are made between two batches; each in a transaction of its own."""
LOCK_TIMEOUT = "2s"
"""The longest time that readers of the log wait behind a month that is made behind a long report."""
AHEAD_EVERY = timedelta(hours=1)
_TABLES = ("decisions", "outcomes", "events")


def month_of(at: datetime) -> datetime:
    """Return the beginning of a month, in UTC."""
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def add_months(month: datetime, count: int) -> datetime:
    """Return the beginning of the month that comes ``count`` after one."""
    number = month.year * 12 + month.month - 1 + count
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def partition_statements(month: datetime) -> list[str]:
    """Statements that make the partitions of a month (its beginning, UTC)."""
    end = add_months(month, 1)
    return [
        f"CREATE TABLE IF NOT EXISTS {table}_{month:%Y_%m} PARTITION OF {table}"
        f" FOR VALUES FROM ('{month.isoformat()}') TO ('{end.isoformat()}')"
        for table in _TABLES
    ]


def in_months(first_ms: int, last_ms: int) -> str:
    """Make a condition on ``decided_at``: the months of two times, and all between them.

    It holds constants, which are the same for all that is asked in a month, so that a plan that leaves out all other
    partitions, and does not lock them, is made once for each connection.
    """
    start, end = month_of(to_datetime(first_ms)), add_months(month_of(to_datetime(last_ms)), 1)
    return f" AND decided_at >= '{start.isoformat()}' AND decided_at < '{end.isoformat()}'"


class Partitions:
    """Makes what is lacking. A month that cannot be made stays in the default partition, where nothing is wrong."""

    def __init__(self) -> None:
        self._settled: set[datetime] | None = None
        self._ahead_until: datetime | None = None

    def forget(self) -> None:
        """Look again for the partitions that there are."""
        self._settled = self._ahead_until = None

    def lacking(self, times_ms: Iterable[int], now: datetime) -> list[datetime]:
        """Find months of these times (Unix ms) that should have a partition and, as far as is known, have none."""
        present = month_of(now)
        first, last = add_months(present, -MONTHS_BACK), add_months(present, MONTHS_AHEAD + 1)
        least_ms, most_ms = int(first.timestamp() * 1000), int(last.timestamp() * 1000)
        months = {month_of(to_datetime(at_ms)) for at_ms in times_ms if least_ms <= at_ms < most_ms}
        return sorted(months - (self._settled or set()), reverse=True)[:MAX_AT_ONCE]

    async def make_ahead(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Make the present month and those that come, once an hour."""
        if self._ahead_until is None or now >= self._ahead_until:
            await self.make(connection, [add_months(month_of(now), n) for n in range(MONTHS_AHEAD + 1)])
            self._ahead_until = now + AHEAD_EVERY

    async def make(self, connection: asyncpg.Connection, months: Iterable[datetime]) -> None:
        """Make the partitions of these months that there are not yet. Raises what the driver raises."""
        if self._settled is None:
            self._settled = await _made(connection)
        for month in sorted(set(months) - self._settled):
            try:
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                    for statement in partition_statements(month):
                        await connection.execute(statement)
            except asyncpg.PostgresError as error:
                # Others hold locks, another archiver was faster, or the default partition has rows of this month.
                log.warning("the month %s has no partition of its own: %s", f"{month:%Y-%m}", error)
            self._settled.add(month)


async def _made(connection: asyncpg.Connection) -> set[datetime]:
    """Read the months that have partitions of all tables."""
    rows = await connection.fetch(
        "SELECT right(c.relname, 7) AS month FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = ANY($1::text[]::regclass[]) AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'"
        " GROUP BY 1 HAVING count(*) = $2",
        list(_TABLES),
        len(_TABLES),
    )
    return {datetime.strptime(row["month"], "%Y_%m").replace(tzinfo=UTC) for row in rows}
