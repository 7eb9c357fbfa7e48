"""Retention: what is older than it may be is removed, whole months of the log by dropping their partitions.

Each step is a transaction of its own, bounded in rows, and leaves an entry of what was removed.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.catalog.store_entries import read_bodies
from decisioning.log.store_partitions import LOCK_TIMEOUT, add_months
from storage.errors import PostgresUnavailable
from storage.locks import RETENTION_LOCK
from storage.postgres import transaction

log = logging.getLogger(__name__)

BATCH_SIZE = 20_000
TABLES = ("log", "events", "dead_letters", "suppressions", "triggers")
"""What may have a limit: ``log`` is decisions and outcomes; of suppressions, those that have ended."""
OF_THE_LOG = {"log": ("decisions", "outcomes"), "events": ("events",)}
"""Tables in partitions of a month each, which are dropped together."""

_TIME = {
    "decisions": "decided_at",
    "outcomes": "decided_at",
    "events": "occurred_at",
    "own_ids": "decided_at",
}
_TIME |= {"trigger_firings": "fired_at", "dead_letters": "set_aside_at", "suppressions": "until"}
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

    async def enforce(
        self, now: datetime, event_days: Mapping[str, int], least_days: Mapping[str, int]
    ) -> int:
        """Remove all that is too old; returns how many entries were made.

        ``event_days``: limits by type of event. ``least_days``: for how long what is in ``OF_THE_LOG``, and
        ``triggers``, is kept at least, whatever its limit is.
        """
        done = 0
        kept_days = {what: self._kept_days(what, least_days[what]) for what in OF_THE_LOG}
        for kind, days in sorted(event_days.items()):
            before = now - timedelta(days=days)
            done += await self._delete(
                "events", f"events of the type {kind}", before, "type = :kind", kind=kind
            )
        for what, tables in OF_THE_LOG.items():
            if what in self._days:
                done += await self._drop_months(what, tables, now - timedelta(days=kept_days[what]))
        if "log" in self._days:
            done += await self._delete(
                "own_ids", "own ids of decisions", now - timedelta(days=kept_days["log"])
            )
        for table in ("dead_letters", "suppressions"):
            if table in self._days:
                done += await self._delete(table, table, now - timedelta(days=self._days[table]))
        if "triggers" in self._days:
            before = now - timedelta(days=self._kept_days("triggers", least_days["triggers"]))
            done += await self._delete("trigger_firings", "firings of triggers", before)
        return done

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

    async def _drop_months(self, what: str, tables: tuple[str, ...], before: datetime) -> int:
        async with transaction(self._engine) as connection:
            months = (await connection.scalars(text(_MONTHS), {"tables": list(tables)})).all()
        done = 0
        for name in months:
            first = datetime.strptime(name, "%Y_%m").replace(tzinfo=UTC)
            if add_months(first, 1) <= before:
                done += await self._drop_month(what, tables, name, add_months(first, 1))
        for table in tables:
            # What is too old for a partition of its own, as imported history may be.
            done += await self._delete(f"{table}_default", f"{table} without a month", before, of=table)
        return done

    async def _drop_month(self, what: str, tables: tuple[str, ...], name: str, before: datetime) -> int:
        try:
            async with transaction(self._engine) as connection:
                # Whoever reads the log waits behind this, so it does not wait for long itself.
                await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                if not await _is_mine(connection):
                    return 0
                if "outcomes" in tables:
                    exists = text("SELECT to_regclass(:name) IS NOT NULL")
                    if await connection.scalar(exists, {"name": f"outcomes_{name}"}):
                        await connection.execute(text(_NOTE_DROPPED.format(rows=f"outcomes_{name}")))
                for table in tables:
                    await connection.execute(text(f"DROP TABLE IF EXISTS {table}_{name}"))
                values = {"what": what, "removed": f"the month {name.replace('_', '-')}", "before": before}
                await connection.execute(_NOTE, values)
        except PostgresUnavailable as error:
            log.warning("the month %s of %s is not dropped yet: %s", name, what, error)
            return 0
        log.info("the month %s of %s was dropped: it is older than it may be", name, what)
        return 1

    async def _delete(
        self, table: str, what: str, before: datetime, condition: str = "true", *, of: str = "", **values: Any
    ) -> int:
        """Delete rows in batches; makes an entry if there were any."""
        removed, condition = 0, f"{_TIME[of or table]} < :before AND {condition}"
        columns, noted = "1", ""
        if table == "outcomes_default":
            columns, noted = "bucket, position", f", noted AS ({_NOTE_DROPPED.format(rows='gone')})"
        while True:
            async with transaction(self._engine) as connection:
                if not await _is_mine(connection):
                    break
                query = _DELETE.format(table=table, condition=condition, columns=columns, more=noted)
                bound = values | {"most": BATCH_SIZE, "before": before}
                found = await connection.scalar(text(query), bound) or 0
            removed += found
            if not found:
                break
        if removed:
            async with transaction(self._engine) as connection:
                entry = {"what": what, "removed": f"{removed} rows", "before": before}
                await connection.execute(_NOTE, entry)
        return int(removed > 0)


async def _is_mine(connection: AsyncConnection) -> bool:
    """Take the right to remove, until the end of the transaction; False if somebody else has it."""
    query = text("SELECT pg_try_advisory_xact_lock(:lock)")
    return bool(await connection.scalar(query, {"lock": RETENTION_LOCK}))
