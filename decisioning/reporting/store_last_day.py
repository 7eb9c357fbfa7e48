"""The decisions of the last 24 hours, from the archived log."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_sql import decision_of_row
from decisioning.model.decision import LoggedDecision
from storage.postgres import transaction

_OF_LAST_DAY = (
    "FROM decisions WHERE placement = :placement AND decided_at >= now() - interval '1 day'"
    " AND header ->> 'source' = 'live'"
)
_EMPTY = "jsonb_array_length(header -> 'offers') = 0"
_COUNT = text(f"SELECT count(*) AS decisions, count(*) FILTER (WHERE {_EMPTY}) AS empty {_OF_LAST_DAY}")
_NEWEST = text(
    f"SELECT bucket, position, header::text AS header, candidates, priors, factors {_OF_LAST_DAY} AND {_EMPTY}"
    " ORDER BY decided_at DESC, decision_id LIMIT :size"
)


class LastDay:
    """Reads the decisions of the last 24 hours. Raises ``PostgresUnavailable``, also where that takes too long."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def without_offer(self, placement: str, size: int) -> tuple[int, int, list[LoggedDecision]]:
        """Count a placement's decisions, and those without any offer, and read the newest ``size`` of the latter."""
        async with transaction(self._engine) as connection:
            counts = (await connection.execute(_COUNT, {"placement": placement})).one()
            rows = (await connection.execute(_NEWEST, {"placement": placement, "size": size})).all()
        return int(counts.decisions), int(counts.empty), [decision_of_row(row) for row in rows]
