"""Recent selections of a policy by offer, with their results, from the roll-up of the log."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.learning.arms_service import SelectionCounts
from storage.postgres import transaction


async def selections(
    engine: AsyncEngine, policy: str, since: datetime, placement: str | None
) -> dict[str, SelectionCounts]:
    """Count what ``policy`` (``name@version``) selected in the hours from ``since`` on, by offer id.

    Raises ``PostgresUnavailable``.
    """
    where = "" if placement is None else "AND placement = :placement"
    query = text(
        "SELECT offer_id, sum(decided)::bigint AS decided, sum(accepted)::bigint AS accepted,"
        " sum(accepted + rejected + ignored)::bigint AS observed FROM acceptance"
        f" WHERE policy = :policy AND hour >= date_trunc('hour', cast(:since AS timestamptz)) {where}"
        " GROUP BY offer_id HAVING sum(decided) > 0"
    )
    values = {"policy": policy, "since": since} | ({} if placement is None else {"placement": placement})
    async with transaction(engine) as connection:
        rows = await connection.execute(query, values)
        return {row.offer_id: SelectionCounts(row.decided, row.observed, row.accepted) for row in rows}
