"""Choices that shadows would have made: written once for each decision and policy, and kept for a while."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.log.store_sql import decision_of_row
from decisioning.model.decision import LoggedDecision
from storage.locks import SHADOW_LOCK
from storage.postgres import transaction

COLUMNS = {
    "decided_at": "timestamptz",
    "decision_id": "text",
    "policy": "text",
    "rank": "smallint",
    "placement": "text",
    "offer_no": "integer",
    "probability": "double precision",
    "chance": "double precision",
    "estimate": "double precision",
    "direct": "double precision",
    "worth": "double precision",
    "direct_worth": "double precision",
    "best_no": "integer",
    "unusable": "text",
    "narrowed": "boolean",
    "took_us": "integer",
    "error": "text",
    "judged_ms": "bigint",
}
_INSERT = f"""
INSERT INTO shadow_choices ({", ".join(COLUMNS)})
SELECT {", ".join(COLUMNS)}
FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS r ({", ".join(f"{c} {t}" for c, t in COLUMNS.items())})
ON CONFLICT DO NOTHING
"""
_NEXT = """
SELECT seq, bucket, position, header::text AS header, candidates, priors, factors FROM decisions
WHERE seq > :position ORDER BY seq LIMIT :count
"""
_DELETE = """
DELETE FROM shadow_choices WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM shadow_choices WHERE decided_at < :before ORDER BY decided_at LIMIT :count))
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to judge, of which there is one. What is written becomes durable with its end, all or nothing."""

    connection: AsyncConnection
    position: int
    newest: int

    async def after(self, count: int) -> list[tuple[int, LoggedDecision]]:
        """The next archived decisions behind the position, with theirs."""
        rows = await self.connection.execute(text(_NEXT), {"position": self.position, "count": count})
        return [(row.seq, decision_of_row(row)) for row in rows]

    async def write(self, rows: Sequence[Mapping[str, Any]], position: int) -> None:
        """Keep rows (by column), and move the position."""
        if rows:
            await self.connection.execute(text(_INSERT), {"rows": to_json(list(rows)).decode()})
        await self.connection.execute(text("UPDATE shadow_position SET seq = :seq"), {"seq": position})


class ShadowStore:
    """Positions of shadows in the archive, and what they would have shown. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn | None]:
        """The right to judge; ``None`` if somebody else has it."""
        async with transaction(self._engine) as connection:
            # A lock of the transaction: whoever dies gives it back.
            if not await connection.scalar(
                text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": SHADOW_LOCK}
            ):
                yield None
                return
            newest = await connection.scalar(text("SELECT coalesce(max(seq), 0) FROM decisions"))
            # The first position ever is the newest decision: shadows are not asked about what was before them.
            await connection.execute(
                text("INSERT INTO shadow_position (seq) VALUES (:seq) ON CONFLICT DO NOTHING"),
                {"seq": newest},
            )
            position = await connection.scalar(text("SELECT seq FROM shadow_position"))
            yield Turn(connection, int(position or 0), int(newest or 0))

    async def forget(self, before: datetime, count: int) -> int:
        """Delete what is about decisions before a time, at most ``count`` rows; returns how many it were."""
        async with transaction(self._engine) as connection:
            done = await connection.execute(text(_DELETE), {"before": before, "count": count})
            return int(done.rowcount)
