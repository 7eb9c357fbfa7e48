"""Reports from the roll-ups in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.stores.postgres import transaction

DIMENSIONS = {
    "offer": "offer_id",
    "policy": "policy",
    "placement": "placement",
    "hour": "hour",
    "day": "date_trunc('day', hour, 'UTC')",
}
COUNTS = (
    "decided",
    "presented",
    "clicked",
    "accepted",
    "rejected",
    "ignored",
    "unobserved",
    "late",
    "value",
)
NAMES = {"offer": "offer_id"}


async def acceptance(
    engine: AsyncEngine,
    by: Sequence[str],
    start: datetime | None,
    end: datetime | None,
    placement: str | None = None,
    policy: str | None = None,
) -> list[dict[str, Any]]:
    """Sums of the roll-up by ``DIMENSIONS``, over decisions from ``start`` to before ``end`` (whole hours).

    Raises ``PostgresUnavailable``.
    """
    groups = ", ".join(f"{DIMENSIONS[d]} AS {NAMES.get(d, d)}" for d in by)
    sums = ", ".join(f"sum({c})::{'float' if c == 'value' else 'bigint'} AS {c}" for c in COUNTS)
    conditions = {
        "hour >= :start": start,
        "hour < :end": end,
        "placement = :placement": placement,
        "starts_with(policy, :policy || '@')": policy,
    }
    given = [condition for condition, value in conditions.items() if value is not None]
    where = f"WHERE {' AND '.join(given)}" if given else ""
    ordinals = ", ".join(str(i) for i in range(1, len(by) + 1))
    statement = f"SELECT {groups}, {sums} FROM acceptance {where} GROUP BY {ordinals} ORDER BY {ordinals}"
    parameters = {"start": start, "end": end, "placement": placement, "policy": policy}
    async with transaction(engine) as connection:
        rows = await connection.execute(
            text(statement), {k: v for k, v in parameters.items() if v is not None}
        )
        return [dict(row._mapping) for row in rows]
