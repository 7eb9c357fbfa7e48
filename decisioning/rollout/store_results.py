"""Decisions of a placement in their order, with what has been told of them, from the archived log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_sql import DECIDER_OF, GROUP_OF
from decisioning.log.store_stream import LogReader
from decisioning.model.position import StreamPosition
from decisioning.rollout.results import MadeDecision
from storage.clock import to_datetime, to_ms

SLACK_MS = 2000
"""A decision is written to the log a little after the time that it bears, and clocks are not quite alike."""

_IN_ORDER = text(f"""
SELECT d.decision_id, d.decided_at, d.customer_id, {GROUP_OF} AS grp,
    {DECIDER_OF} AS decider,
    d.header ->> 'presentation' = 'explicit' AS explicit, (d.header ->> 'until_ms')::bigint AS until_ms,
    ARRAY(SELECT offer ->> 'offer_id' FROM jsonb_array_elements(d.header -> 'offers') AS offer) AS offers,
    o.offers AS told_of, o.outcomes AS told, o.times AS told_ms
FROM decisions AS d LEFT JOIN LATERAL (
    SELECT array_agg(x.offer_id ORDER BY x.recorded_ms, x.outcome) AS offers,
        array_agg(x.outcome ORDER BY x.recorded_ms, x.outcome) AS outcomes,
        array_agg(x.recorded_ms ORDER BY x.recorded_ms, x.outcome) AS times
    FROM outcomes AS x WHERE x.decision_id = d.decision_id AND x.decided_at = d.decided_at
) AS o ON true
WHERE d.placement = :placement AND (d.decided_at, d.decision_id) > (cast(:at AS timestamptz), cast(:id AS text))
    AND d.decided_at <= cast(:until AS timestamptz) AND d.header ->> 'source' = 'live'
ORDER BY d.decided_at, d.decision_id LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A place in a placement's archived decisions: right behind the one at ``at`` with that id."""

    at: datetime
    decision_id: str = ""

    @classmethod
    def behind(cls, made: MadeDecision) -> "LogPlace":
        """Return the place right behind ``made``."""
        return cls(to_datetime(made.at_ms), made.decision_id)


async def archived_until_ms(reader: LogReader, archive: ArchiveReader, now_ms: int) -> int:
    """Find the time up to which decisions are archived, and so is what had been told by then.

    Raises ``RedisUnavailable`` or ``PostgresUnavailable``.
    """
    ends = await reader.ends()
    archived = await archive.positions()
    behind = [
        archived.get(bucket, StreamPosition.START).at_ms
        for bucket, end in ends.items()
        if archived.get(bucket, StreamPosition.START) < end
    ]
    return min([now_ms, *behind]) - SLACK_MS


async def decisions_in_order(
    connection: AsyncConnection, placement: str, behind: LogPlace, until_ms: int, limit: int
) -> Sequence[MadeDecision]:
    """Read the decisions behind a place, up to ``until_ms``, at most ``limit``."""
    rows = await connection.execute(
        _IN_ORDER,
        {
            "placement": placement,
            "at": behind.at,
            "id": behind.decision_id,
            "until": to_datetime(until_ms),
            "limit": limit,
        },
    )
    return [_decision_of_row(row) for row in rows]


def _decision_of_row(row: Any) -> MadeDecision:
    return MadeDecision(
        decision_id=row.decision_id,
        customer_id=row.customer_id,
        at_ms=to_ms(row.decided_at),
        until_ms=row.until_ms,
        group=row.grp,
        decider=row.decider,
        explicit=row.explicit,
        offers=row.offers,
        told=list(zip(row.told_of or (), row.told or (), row.told_ms or (), strict=True)),
    )
