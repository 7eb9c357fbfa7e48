"""The outcomes that were told of offers, counted in the archived log, with what they earned."""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.model.outcome import ENDINGS
from storage.postgres import to_dicts, transaction

MAX_ROWS = 10_000
# ``earned`` begins with what had been earned before ("-" if nothing was counted) and what is earned now.
_DIFFERENCE = (
    "split_part(earned, ' ', 2)::float8 - coalesce(nullif(split_part(earned, ' ', 1), '-')::float8, 0)"
)
_COUNTS = text(f"""
SELECT offer_id, outcome, reason, count(*) FILTER (WHERE NOT late) AS told, count(*) FILTER (WHERE late) AS late,
    coalesce(sum({_DIFFERENCE}), 0) AS earned
FROM outcomes
WHERE decided_at >= coalesce(:start, '-infinity'::timestamptz)
    AND decided_at < coalesce(:end, 'infinity'::timestamptz)
    AND (cast(:placement AS text) IS NULL OR placement = :placement) AND NOT outcome = ANY(:endings)
GROUP BY offer_id, outcome, reason ORDER BY offer_id, outcome, reason NULLS FIRST LIMIT {MAX_ROWS}
""")


async def count_outcomes(
    engine: AsyncEngine, start: datetime | None, end: datetime | None, placement: str | None
) -> list[dict[str, Any]]:
    """Count outcomes of decisions of a time, by offer, outcome and reason. Raises ``PostgresUnavailable``."""
    values = {"start": start, "end": end, "placement": placement, "endings": [*ENDINGS, "shown"]}
    async with transaction(engine) as connection:
        return to_dicts(await connection.execute(_COUNTS, values))
