"""Archived events, counted by day and type."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.errors import Invalid
from decisioning.reporting.offer_report import ReportScope
from decisioning.reporting.store_bounds import TIMEOUT_S, bounded
from storage.postgres import to_dicts

MAX_ROWS = 10_000
_COUNTS = text(f"""
SELECT cast(occurred_at AT TIME ZONE cast(:zone AS text) AS date) AS day, type, count(*) AS events FROM events
WHERE occurred_at >= coalesce(cast(:since AS timestamptz), '-infinity')
    AND occurred_at < coalesce(cast(:until AS timestamptz), 'infinity')
    AND (cast(:type AS text) IS NULL OR type = :type)
GROUP BY 1, 2 ORDER BY 1, 2 LIMIT {MAX_ROWS + 1}
""")


async def count_events(
    engine: AsyncEngine, scope: ReportScope, event_type: str | None
) -> list[dict[str, Any]]:
    """Count events of a time by the day on which they happened, and by type; of one type alone if it is given.

    Raises ``Invalid`` if it takes longer than ``TIMEOUT_S`` or has more than ``MAX_ROWS`` rows, and
    ``PostgresUnavailable``.
    """
    values = {"zone": scope.zone, "since": scope.since, "until": scope.until, "type": event_type}
    async with bounded(engine, TIMEOUT_S, "name less time with since and until") as connection:
        rows = to_dicts(await connection.execute(_COUNTS, values))
    if len(rows) > MAX_ROWS:
        raise Invalid("since", f"the report has more than {MAX_ROWS} rows: name less time, or one type")
    return rows
