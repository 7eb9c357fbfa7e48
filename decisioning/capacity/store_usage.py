"""Use of capacity as counted in the archived log, and the pools that have ever been opened."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.capacity.leasing import Period
from decisioning.log.store_archive import ArchiveReader
from decisioning.model.position import StreamPosition
from storage.clock import to_datetime
from storage.postgres import transaction

_UNITS = """
FROM decisions d, jsonb_array_elements(d.header -> 'capacity') AS unit
WHERE d.header ? 'capacity' AND d.decided_at >= :starts
    AND unit ->> 'capacity_id' = :capacity AND unit ->> 'period' = :period
"""
_RELEASED = """
SELECT count(DISTINCT (o.decision_id, o.offer_id))
FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id AND d.decided_at = o.decided_at,
    jsonb_array_elements(d.header -> 'capacity') AS unit
WHERE o.outcome IN ('withdrawn', 'released') AND o.decided_at >= :starts AND d.decided_at >= :starts
    AND d.header ? 'capacity' AND unit ->> 'offer_id' = o.offer_id
    AND unit ->> 'capacity_id' = :capacity AND unit ->> 'period' = :period
    AND (o.outcome = 'withdrawn' OR NOT EXISTS (
        SELECT 1 FROM outcomes x
        WHERE x.decision_id = o.decision_id AND x.offer_id = o.offer_id AND x.decided_at = o.decided_at
            AND x.outcome IN ('presented', 'clicked', 'accepted', 'rejected')
    ))
"""


class CapacityLog:
    """Counts units in Postgres. Every method raises ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def note_opening(self, capacity_id: str, period: Period) -> bool:
        """Note that a pool is about to be opened. Returns whether it never was before."""
        async with transaction(self.engine) as connection:
            inserted = await connection.scalar(
                text(
                    "INSERT INTO capacity_pools (capacity_id, period, ends_ms) VALUES (:capacity, :period, :ends)"
                    " ON CONFLICT DO NOTHING RETURNING 1"
                ),
                {"capacity": capacity_id, "period": period.period_id, "ends": period.ends_ms},
            )
        return inserted is not None

    async def used(self, capacity_id: str, period: Period) -> dict[str, int]:
        """Count units in decided records by holder, whatever became of the decisions."""
        async with transaction(self.engine) as connection:
            rows = await connection.execute(
                text(f"SELECT unit ->> 'holder' AS holder, count(*) AS used {_UNITS} GROUP BY 1"),
                _parameters(capacity_id, period),
            )
            return {row.holder: row.used for row in rows}

    async def released(self, capacity_id: str, period: Period) -> int:
        """Count units whose decision was withdrawn, or released and never presented: late confirmations are use."""
        async with transaction(self.engine) as connection:
            return int(await connection.scalar(text(_RELEASED), _parameters(capacity_id, period)) or 0)

    async def archived(self) -> dict[int, StreamPosition]:
        """Return the position up to which each bucket's log has been archived."""
        return await ArchiveReader(self.engine).positions()

    async def forget(self, before_ms: int) -> None:
        """Drop the notes of pools whose period ended before a time."""
        async with transaction(self.engine) as connection:
            await connection.execute(
                text("DELETE FROM capacity_pools WHERE ends_ms < :before"), {"before": before_ms}
            )


def _parameters(capacity_id: str, period: Period) -> dict[str, object]:
    starts = to_datetime(period.starts_ms)
    return {"capacity": capacity_id, "period": period.period_id, "starts": starts}
