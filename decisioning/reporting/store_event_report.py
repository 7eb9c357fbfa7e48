"""Archived events, counted by day and type.

Triggers of the table ``events`` count them by quarters of an hour (UTC), in which nearly all days of all time zones
begin: of a slot in which one begins, or the time of the report, the events are counted one by one.
"""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.errors import Invalid
from decisioning.reporting.offer_report import ReportScope
from decisioning.reporting.store_bounds import PLANNING, TIMEOUT_S, bounded
from storage.postgres import to_dicts

MAX_ROWS = 10_000
_SINCE = "coalesce(cast(:since AS timestamptz), '-infinity')"
_UNTIL = "coalesce(cast(:until AS timestamptz), 'infinity')"
_OF_TYPE = "(cast(:type AS text) IS NULL OR type = :type)"
_IN_ZONE = "AT TIME ZONE cast(:zone AS text)"
_SLOT = "interval '15 minutes'"
_LAST = "interval '14 minutes 59.999999 seconds'"
# A slot lies in one day if it begins and ends in it: nowhere have clocks shown another day in between.
_COUNTS = text(f"""
WITH counts AS MATERIALIZED (
    SELECT slot, type, events FROM event_counts
    WHERE slot > {_SINCE} - {_SLOT} AND slot < {_UNTIL} AND {_OF_TYPE}
), days AS MATERIALIZED (
    SELECT slot, cast(slot {_IN_ZONE} AS date) AS day, cast((slot + {_LAST}) {_IN_ZONE} AS date) AS last
    FROM (SELECT DISTINCT slot FROM counts) AS s
), slots AS MATERIALIZED (
    SELECT slot, day, day = last AND slot >= {_SINCE} AND slot + {_SLOT} <= {_UNTIL} AS is_whole FROM days
)
SELECT day, type, cast(sum(events) AS bigint) AS events FROM (
    SELECT day, type, events FROM counts JOIN slots USING (slot) WHERE is_whole
    UNION ALL
    SELECT cast(e.occurred_at {_IN_ZONE} AS date), e.type, 1
    FROM slots AS s JOIN events AS e ON e.occurred_at >= s.slot AND e.occurred_at < s.slot + {_SLOT}
    WHERE NOT s.is_whole AND e.occurred_at >= {_SINCE} AND e.occurred_at < {_UNTIL} AND {_OF_TYPE}
) AS counted GROUP BY 1, 2 ORDER BY 1, 2 LIMIT {MAX_ROWS + 1}
""")

REBUILD_EVENT_COUNTS = (
    # In the order of all who write both.
    "LOCK TABLE events IN ACCESS SHARE MODE",
    # Who has counted what is not committed yet is waited for, and who writes meanwhile counts behind this.
    "LOCK TABLE event_counts IN EXCLUSIVE MODE",
    "DELETE FROM event_counts",
    """
INSERT INTO event_counts (slot, type, events)
SELECT date_bin('15 minutes', occurred_at, timestamptz '0001-01-01 00:00:00+00'), type, count(*)
FROM events GROUP BY 1, 2
""",
)


async def count_events(
    engine: AsyncEngine, scope: ReportScope, event_type: str | None
) -> list[dict[str, Any]]:
    """Count events of a time by the day on which they happened, and by type; of one type alone if it is given.

    Raises ``Invalid`` if it takes longer than ``TIMEOUT_S`` or has more than ``MAX_ROWS`` rows, and
    ``PostgresUnavailable``.
    """
    values = {"zone": scope.zone, "since": scope.since, "until": scope.until, "type": event_type}
    # A plan that is made for any bounds reads many more events than lie in the slots that these bounds cut.
    settings = PLANNING | {"plan_cache_mode": "force_custom_plan"}
    way_out = "name less time with since and until"
    async with bounded(engine, TIMEOUT_S, way_out, settings=settings) as connection:
        rows = to_dicts(await connection.execute(_COUNTS, values))
    if len(rows) > MAX_ROWS:
        raise Invalid("since", f"the report has more than {MAX_ROWS} rows: name less time, or one type")
    return rows
