"""Reports from the roll-ups in Postgres."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_sql import GROUP_OF, OUTCOME_COUNTS
from storage.postgres import to_dicts, transaction

DIMENSIONS = {
    "offer": "offer_id",
    "policy": "policy",
    "group": "grp",
    "segment": "segment",
    "placement": "placement",
    "hour": "hour",
    "day": "date_trunc('day', hour, 'UTC')",
}
COUNTS = tuple(OUTCOME_COUNTS)
NAMES = {"offer": "offer_id", "group": '"group"'}


# The roll-up does not know of segments: they are taken from the log. Who is in several segments counts in each.
_BY_SEGMENT = f"""(
    SELECT date_trunc('hour', decided_at) AS hour, placement, policy, offer ->> 'offer_id' AS offer_id,
        {GROUP_OF} AS grp, segment, count(*) AS decided, {", ".join(f"0 AS {c}" for c in COUNTS[1:])}
    FROM decisions AS d, jsonb_array_elements(header -> 'offers') AS offer,
        jsonb_array_elements_text(coalesce(header -> 'segments', '[]')) AS s (segment)
    GROUP BY 1, 2, 3, 4, 5, 6
    UNION ALL
    SELECT date_trunc('hour', o.decided_at), o.placement, o.policy, o.offer_id, {GROUP_OF}, segment,
        {", ".join(OUTCOME_COUNTS.values())}
    FROM outcomes AS o JOIN decisions AS d USING (decision_id, decided_at),
        jsonb_array_elements_text(coalesce(d.header -> 'segments', '[]')) AS s (segment)
    GROUP BY 1, 2, 3, 4, 5, 6
) AS by_segment"""


async def acceptance(
    engine: AsyncEngine,
    by: Sequence[str],
    start: datetime | None,
    end: datetime | None,
    placement: str | None = None,
    policy: str | None = None,
) -> list[dict[str, Any]]:
    """Sums of the roll-up by ``DIMENSIONS``, over decisions from ``start`` to before ``end`` (whole hours).

    By segment they are taken from the log itself, which takes longer. Raises ``PostgresUnavailable``.
    """
    source = _BY_SEGMENT if "segment" in by else "acceptance"
    groups = ", ".join(f"{DIMENSIONS[d]} AS {NAMES.get(d, d)}" for d in by)
    sums = ", ".join(f"sum({c})::{'float' if c == 'value' else 'bigint'} AS {c}" for c in COUNTS)
    conditions = {
        "start": "hour >= :start",
        "end": "hour < :end",
        "placement": "placement = :placement",
        "policy": "starts_with(policy, :policy || '@')",
    }
    values = {"start": start, "end": end, "placement": placement, "policy": policy}
    given = {name: value for name, value in values.items() if value is not None}
    where = f"WHERE {' AND '.join(conditions[name] for name in given)}" if given else ""
    ordinals = ", ".join(str(i) for i in range(1, len(by) + 1))
    statement = f"SELECT {groups}, {sums} FROM {source} {where} GROUP BY {ordinals} ORDER BY {ordinals}"
    async with transaction(engine) as connection:
        # They have all come, so reading them waits for nothing; of thousands it holds up whoever else is served.
        return await asyncio.to_thread(to_dicts, await connection.execute(text(statement), given))
