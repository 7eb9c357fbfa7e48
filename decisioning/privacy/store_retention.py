"""Retention: what is older than it may be is removed, whole months of the log by dropping their partitions.

Each step is a transaction of its own, bounded in rows, and leaves an entry of what was removed.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.catalog.store_entries import read_bodies
from decisioning.contact.signals import MAX_LASTS_S
from decisioning.errors import Busy
from decisioning.log.store_partitions import LOCK_TIMEOUT, add_months
from storage.errors import PostgresUnavailable
from storage.locks import RETENTION_LOCK
from storage.postgres import transaction

log = logging.getLogger(__name__)

BATCH_SIZE = 20_000
TABLES = ("log", "events", "dead_letters", "suppressions", "triggers", "notes")
"""What may have a limit: ``log`` is decisions and outcomes; of suppressions, those that have ended."""
OF_THE_LOG = {"log": ("decisions", "outcomes"), "events": ("events",)}
"""Tables in partitions of a month each, which are dropped together."""

ROWS = {"dead_letters": "dead_letters", "suppressions": "suppressions", "notes": "customer_notes"}
"""Tables whose rows nothing looks back on: they go as the limit says."""

_TIME = {
    "decisions": "decided_at",
    "outcomes": "decided_at",
    "events": "occurred_at",
    "own_ids": "decided_at",
}
_TIME |= {"trigger_firings": "fired_at", "dead_letters": "set_aside_at", "suppressions": "until"}
_TIME |= {
    "customer_notes": "written_at",
    "asked_days": "day",
    "fired_customers": "fired_at",
    "calibration_days": "day",
    "lifted_signals": "to_timestamp(lifted_ms / 1000.0)",
}
_MONTHS = """
SELECT DISTINCT right(c.relname, 7) AS month FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = ANY(cast(:tables AS text[])::regclass[]) AND c.relname ~ '_[0-9]{4}_[0-9]{2}$' ORDER BY 1
"""
# With the table: places of rows in different partitions may be equal.
_DELETE = """
WITH gone AS (
    DELETE FROM {table} WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM {table} WHERE {condition} LIMIT :most)
        AND {condition} RETURNING {columns}
){more} SELECT count(*) FROM gone
"""
_NOTE_DROPPED = """
INSERT INTO dropped_outcomes AS d (bucket, position)
SELECT DISTINCT ON (bucket) bucket, position FROM {rows}
ORDER BY bucket, split_part(position, '-', 1)::bigint DESC, split_part(position, '-', 2)::bigint DESC
ON CONFLICT (bucket) DO UPDATE SET position = excluded.position
WHERE split_part(excluded.position, '-', 1)::bigint >= split_part(d.position, '-', 1)::bigint
"""
# Triggers count what is deleted, not what is dropped.
_FORGET_COUNTS = text("DELETE FROM event_counts WHERE slot >= :first AND slot < :before")
_NOTE = text("INSERT INTO retention_actions (what, removed, before) VALUES (:what, :removed, :before)")
_ACTIONS = text("""
SELECT what, removed, before, done_at FROM retention_actions ORDER BY action_id DESC LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class RetentionAction:
    """One entry of what was removed: a month, or a number of rows, of what was before a time."""

    what: str
    removed: str
    before: datetime
    done_at: datetime


@dataclass(frozen=True, slots=True)
class Removed:
    """The removal of a month or of a number of rows, or what it would be: of what was before a time."""

    what: str
    removed: str
    before: datetime


@dataclass(frozen=True, slots=True)
class _Due:
    """A place where something may be too old: a month of ``tables``, or rows of the one table that is there.

    ``of``: the table whose column of the time the rows have, if it is another.
    """

    what: str
    tables: tuple[str, ...]
    before: datetime
    month: str | None = None
    condition: str = "true"
    of: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> str:
        return self.tables[0]

    @property
    def too_old(self) -> str:
        return f"{_TIME[self.of or self.table]} < :before AND {self.condition}"

    @property
    def bound(self) -> dict[str, Any]:
        return {**self.values, "before": self.before}


class Retention:
    """Removes what is too old. ``days``: limits by ``TABLES``. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine, days: Mapping[str, int]) -> None:
        self._engine = engine
        self._days = days

    async def event_days(self) -> dict[str, int]:
        """Read after how many days events of a type go, where it says so; of a deleted type, as it said last."""
        async with transaction(self._engine) as connection:
            found = await read_bodies(connection, "event", "body IS NOT NULL")
        days = {name: body.get("retention_days") for name, body in found.items()}
        return {name: most for name, most in days.items() if most is not None}

    async def run(
        self,
        now: datetime,
        event_days: Mapping[str, int],
        least_days: Mapping[str, int],
        found: list[Removed],
        *,
        dry: bool,
    ) -> None:
        """Remove all that is too old, or only look for it (``dry``). ``found``: gets what it is, as it is noted.

        It has what went also when this raises: ``Busy`` if somebody else is removing, and ``PostgresUnavailable``.
        ``event_days``: limits by type of event. ``least_days``: for how long what is in ``OF_THE_LOG``, and
        ``triggers``, is kept at least, whatever its limit is.
        """
        kept_days = {what: self._kept_days(what, least_days[what]) for what in OF_THE_LOG}
        for due in await self._due(now, event_days, kept_days, least_days):
            if due.month is not None:
                if dry or await self._drop_month(due, due.month):
                    found.append(Removed(due.what, f"the month {due.month.replace('_', '-')}", due.before))
            elif not dry:
                await self._delete(due, found)
            elif goes := await self._count(due):
                found.append(Removed(due.what, f"{goes} rows", due.before))

    async def _due(
        self,
        now: datetime,
        event_days: Mapping[str, int],
        kept_days: Mapping[str, int],
        least_days: Mapping[str, int],
    ) -> list[_Due]:
        """List where something may be too old, in the order in which it goes."""
        due = []
        for kind, days in sorted(event_days.items()):
            before, named = now - timedelta(days=days), f"events of the type {kind}"
            due.append(_Due(named, ("events",), before, condition="type = :kind", values={"kind": kind}))
        for what, tables in OF_THE_LOG.items():
            if what not in self._days:
                continue
            before = now - timedelta(days=kept_days[what])
            for name in await self._months(tables):
                end = add_months(datetime.strptime(name, "%Y_%m").replace(tzinfo=UTC), 1)
                if end <= before:
                    due.append(_Due(what, tables, end, month=name))
                    if what == "log":
                        due.append(_Due("days of customers who asked", ("asked_days",), end))
                        due.append(_Due("customers for whom triggers fired", ("fired_customers",), end))
                        due.append(_Due("days of predictions", ("calibration_days",), end))
            # What is too old for a partition of its own, as imported history may be.
            due += [
                _Due(f"{table} without a month", (f"{table}_default",), before, of=table) for table in tables
            ]
        if "log" in self._days:
            due.append(_Due("own ids of decisions", ("own_ids",), now - timedelta(days=kept_days["log"])))
        for what, table in ROWS.items():
            if what in self._days:
                due.append(_Due(what, (table,), now - timedelta(days=self._days[what])))
        # Whatever the settings say: the decisions in which these held have ended to matter.
        due.append(
            _Due("lifted signals", ("lifted_signals",), now - timedelta(days=MAX_LASTS_S // 86_400 + 1))
        )
        if "triggers" in self._days:
            before = now - timedelta(days=self._kept_days("triggers", least_days["triggers"]))
            due.append(_Due("firings of triggers", ("trigger_firings",), before))
        return due

    def _kept_days(self, what: str, least_days: int) -> int:
        days = self._days.get(what, least_days)
        if days < least_days:
            log.warning(
                "%s are kept for %d days, not %d as NEXTBEST_RETENTION says: windows of the catalogue need them",
                "decisions and outcomes" if what == "log" else what,
                least_days,
                days,
            )
        return max(days, least_days)

    async def actions(self, most: int) -> list[RetentionAction]:
        """Read what was removed, the latest first."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_ACTIONS, {"most": most})
            return [RetentionAction(**row._mapping) for row in rows]

    async def _months(self, tables: tuple[str, ...]) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            return (await connection.scalars(text(_MONTHS), {"tables": list(tables)})).all()

    async def _count(self, due: _Due) -> int:
        query = f"SELECT count(*) FROM {due.table} WHERE {due.too_old}"
        async with transaction(self._engine) as connection:
            return await connection.scalar(text(query), due.bound) or 0

    async def _drop_month(self, due: _Due, name: str) -> bool:
        try:
            async with transaction(self._engine) as connection:
                # Whoever reads the log waits behind this, so it does not wait for long itself.
                await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                await _take_right(connection)
                if "outcomes" in due.tables:
                    exists = text("SELECT to_regclass(:name) IS NOT NULL")
                    if await connection.scalar(exists, {"name": f"outcomes_{name}"}):
                        await connection.execute(text(_NOTE_DROPPED.format(rows=f"outcomes_{name}")))
                for table in due.tables:
                    await connection.execute(text(f"DROP TABLE IF EXISTS {table}_{name}"))
                if "events" in due.tables:
                    month = {"first": add_months(due.before, -1), "before": due.before}
                    await connection.execute(_FORGET_COUNTS, month)
                said = f"the month {name.replace('_', '-')}"
                await connection.execute(_NOTE, {"what": due.what, "removed": said, "before": due.before})
        except PostgresUnavailable as error:
            log.warning("the month %s of %s is not dropped yet: %s", name, due.what, error)
            return False
        log.info("the month %s of %s was dropped: it is older than it may be", name, due.what)
        return True

    async def _delete(self, due: _Due, found: list[Removed]) -> None:
        """Delete rows in batches; makes an entry, here and in ``found``, if any went, also when the next one fails."""
        removed, columns, noted = 0, "1", ""
        if due.table == "outcomes_default":
            columns, noted = "bucket, position", f", noted AS ({_NOTE_DROPPED.format(rows='gone')})"
        query = _DELETE.format(table=due.table, condition=due.too_old, columns=columns, more=noted)
        try:
            while True:
                async with transaction(self._engine) as connection:
                    await _take_right(connection)
                    gone = await connection.scalar(text(query), due.bound | {"most": BATCH_SIZE}) or 0
                removed += gone
                if not gone:
                    break
        finally:
            if removed:
                one = Removed(due.what, f"{removed} rows", due.before)
                found.append(one)
                async with transaction(self._engine) as connection:
                    await connection.execute(
                        _NOTE, {"what": one.what, "removed": one.removed, "before": one.before}
                    )


async def _take_right(connection: AsyncConnection) -> None:
    """Take the right to remove, until the end of the transaction. Raises ``Busy`` if somebody else has it."""
    query = text("SELECT pg_try_advisory_xact_lock(:lock)")
    if not await connection.scalar(query, {"lock": RETENTION_LOCK}):
        raise Busy("another run of retention is removing what is too old: try again when it has ended")
