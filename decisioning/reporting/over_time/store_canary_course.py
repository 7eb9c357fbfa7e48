"""Customers of a canary's test by the time at which they were counted, from the archived log."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.log.store_sql import DECIDER_OF, GROUP_OF
from decisioning.reporting.store_bounds import TIMEOUT_S, bounded
from decisioning.rollout.canary_course import CountedPart
from decisioning.rollout.guardrail import GroupCounts
from decisioning.rollout.results import ANSWERS, SEEN
from decisioning.rollout.store_canary import CanaryTest
from storage.clock import to_ms

PARTS = 32
"""Parts of equal length that the time of a test is divided into."""
MAX_READ = 50_000
"""Decisions of a placement that are read for a course, the first of the stage."""
WAY_OUT = "ask again when Postgres is less busy; GET /v1/reports/canaries has the test as it is now"

# Through an index alone: without it, everything that was told in a month would be read to draw its first day.
_END = text("""
SELECT decided_at, decision_id FROM decisions WHERE placement = :placement AND decided_at >= :start
    AND (decided_at, decision_id) <= (cast(:until AS timestamptz), cast(:until_id AS text))
ORDER BY decided_at, decision_id OFFSET :most LIMIT 1
""")


def _named(outcomes: frozenset[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(outcomes))


# As `rollout.results` finds results one by one; of answers at the same time the acceptance is the first there, by name.
# What was told is looked up by decision: how many there are between bounds that are computed here the planner does not
# know, and it would join them in the slowest way.
_PARTS = text(f"""
WITH made AS MATERIALIZED (
    SELECT d.decision_id, d.decided_at, d.customer_id, {GROUP_OF} AS grp,
        coalesce(d.header ->> 'presentation' = 'explicit', false) AS explicit, c.at_ms,
        least((d.header ->> 'until_ms')::bigint, c.at_ms + :horizon_ms) AS until_ms
    FROM decisions AS d
    CROSS JOIN LATERAL (SELECT round(extract(epoch FROM d.decided_at) * 1000)::bigint AS at_ms) AS c
    WHERE d.placement = :placement AND d.decided_at >= :start
        AND (d.decided_at, d.decision_id) <= (cast(:until AS timestamptz), cast(:until_id AS text))
        AND d.header ->> 'source' = 'live'
        AND ({GROUP_OF}, {DECIDER_OF}) IN (('canary', :policy), (:others, :champion))
), first AS (
    SELECT DISTINCT ON (m.customer_id) m.grp, m.at_ms, r.accepted
    FROM made AS m CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(o.withdrawn), false) AS withdrawn, coalesce(bool_or(o.seen), false) AS seen,
            coalesce(bool_or(o.accepted), false) AS accepted
        FROM (
            SELECT bool_or(x.outcome = 'withdrawn') AS withdrawn,
                bool_or(x.outcome IN ({_named(SEEN)}) AND x.recorded_ms <= m.until_ms) AS seen,
                min(x.recorded_ms) FILTER (WHERE x.outcome = 'accepted' AND x.recorded_ms <= m.until_ms)
                    <= coalesce(min(x.recorded_ms) FILTER (WHERE x.outcome IN ({_named(ANSWERS - {"accepted"})})
                        AND x.recorded_ms <= m.until_ms), {2**62}) AS accepted
            FROM outcomes AS x WHERE x.decision_id = m.decision_id AND x.decided_at = m.decided_at
            GROUP BY x.offer_id
        ) AS o
    ) AS r
    WHERE NOT r.withdrawn AND (NOT m.explicit OR r.seen)
    ORDER BY m.customer_id, m.decided_at, m.decision_id
)
SELECT least(1 + (at_ms - :start_ms) * :parts / :span_ms, :parts)::integer AS part, grp = 'canary' AS is_canary,
    count(*) AS observations, count(*) FILTER (WHERE accepted) AS acceptances
FROM first GROUP BY 1, 2 ORDER BY 1
""")


async def counted_parts(engine: AsyncEngine, test: CanaryTest, most: int = MAX_READ) -> list[CountedPart]:
    """Count the customers of a test by the time of the decision that counts, in at most ``PARTS`` parts of its time.

    Parts without any are left out. Of a stage with more than ``most`` decisions only the first so many are read. What
    the log does not tell any more, since somebody was erased or it was too old, is missing. Raises ``Invalid`` if a
    statement takes longer than ``TIMEOUT_S``, and ``PostgresUnavailable``.
    """
    start_ms = to_ms(test.started_at)
    span_ms = max(to_ms(test.seen.at) - start_ms, 1)
    values: dict[str, Any] = {
        "placement": test.placement,
        "start": test.started_at,
        "until": test.seen.at,
        "until_id": test.seen.decision_id,
    }
    async with bounded(engine, TIMEOUT_S, WAY_OUT, "test_id") as connection:
        # Outcomes are looked up by decision here, and not hashed.
        await connection.execute(text("SET LOCAL enable_nestloop = on"))
        values |= await _first_ones(connection, values, most)
        values |= {
            "policy": test.policy,
            "champion": test.champion,
            "others": test.others_group,
            "horizon_ms": test.horizon_s * 1000,
            "start_ms": start_ms,
            "span_ms": span_ms,
            "parts": PARTS,
        }
        rows = (await connection.execute(_PARTS, values)).all()
    counts: dict[int, dict[bool, GroupCounts]] = {}
    for row in rows:
        counts.setdefault(row.part, {})[row.is_canary] = GroupCounts(row.observations, row.acceptances)
    return [
        CountedPart(
            _end_of(test.started_at, span_ms, part),
            sides.get(True, GroupCounts()),
            sides.get(False, GroupCounts()),
        )
        for part, sides in counts.items()
    ]


async def _first_ones(connection: AsyncConnection, values: dict[str, Any], most: int) -> dict[str, Any]:
    """Find the last decision that is read, if there are more than ``most``."""
    row = (await connection.execute(_END, values | {"most": most})).first()
    return {} if row is None else {"until": row.decided_at, "until_id": row.decision_id}


def _end_of(start: datetime, span_ms: int, part: int) -> datetime:
    return start + timedelta(milliseconds=span_ms * part / PARTS)
