"""Recent selections of a policy by offer, with their results, from the roll-up of the log."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.learning.arms_service import SelectionCounts
from storage.postgres import transaction, where


async def selections(
    engine: AsyncEngine, policy: str, since: datetime, placement: str | None
) -> dict[str, SelectionCounts]:
    """Count what ``policy`` (``name@version``) selected in the hours from ``since`` on, by offer id.

    Raises ``PostgresUnavailable``.
    """
    condition, values = where({"policy =": policy, "placement =": placement})
    query = text(
        # Of closed reward windows: of open ones acceptances are known, and silence is not.
        "SELECT offer_id, sum(decided)::bigint AS decided, sum(accepted_closed)::bigint AS accepted,"
        " sum(accepted_closed + rejected_closed + ignored)::bigint AS observed,"
        " sum(decided - accepted_closed - rejected_closed - ignored - unobserved)::bigint AS open FROM acceptance"
        f" {condition} AND hour >= date_trunc('hour', cast(:since AS timestamptz))"
        " GROUP BY offer_id HAVING sum(decided) > 0"
    )
    async with transaction(engine) as connection:
        rows = await connection.execute(query, values | {"since": since})
        return {
            row.offer_id: SelectionCounts(row.decided, row.observed, row.accepted, row.open) for row in rows
        }
