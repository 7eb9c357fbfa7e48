"""Figures for comparing a placement's policies: counts by group, and judged slots with their rewards."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_sql import DECIDER_OF, RESULT_KNOWN
from decisioning.model.deciders import CALLER
from storage.postgres import to_dicts, transaction


@dataclass(frozen=True, slots=True)
class Window:
    """The newest ``limit`` decisions of a placement from ``start`` to before ``end``; ``first``: first slots only."""

    placement: str
    start: datetime
    end: datetime
    limit: int
    first: bool


_HAS_CLOSED = "coalesce(bool_or(outcome IN ('expired', 'closed', 'withdrawn')), false)"
# Of what is open acceptances are known before silence, so only results of closed windows are counted.
_BY_GROUP = f"""
WITH newest AS (
    SELECT decision_id, decided_at, coalesce(header ->> 'group', 'champion') AS "group",
        {DECIDER_OF} AS policy, header ? 'failed' AND d.policy <> '{CALLER}' AS failed,
        cast(header -> 'numbers' ->> 0 AS integer) AS first_no, jsonb_array_length(header -> 'numbers') AS shown
    FROM decisions AS d
    WHERE placement = :placement AND decided_at >= :start AND decided_at < :end AND header ->> 'source' = 'live'
    ORDER BY decided_at DESC LIMIT :limit
)
SELECT "group", policy, count(*) AS decisions, count(*) FILTER (WHERE failed) AS failures,
    sum(CASE WHEN :first THEN least(shown, 1) ELSE shown END)::bigint AS shown,
    coalesce(sum(CASE WHEN :first THEN least(shown, 1) ELSE shown END) FILTER (WHERE NOT o.closed), 0)::bigint AS open,
    coalesce(sum(o.observed) FILTER (WHERE o.closed), 0)::bigint AS observed,
    coalesce(sum(o.accepted) FILTER (WHERE o.closed), 0)::double precision AS accepted
FROM newest AS d CROSS JOIN LATERAL (
    SELECT {_HAS_CLOSED} AS closed, count(*) FILTER (WHERE {RESULT_KNOWN}) AS observed,
        sum(reward) FILTER (WHERE NOT late) AS accepted,
        coalesce(bool_or(outcome = 'withdrawn'), false) AS withdrawn
    FROM outcomes
    WHERE decision_id = d.decision_id AND decided_at = d.decided_at AND (NOT :first OR offer_no = d.first_no)
) AS o
WHERE NOT o.withdrawn
GROUP BY 1, 2 ORDER BY 1, 2
"""

_JUDGED = f"""
SELECT s.decided_at, s.decision_id, s.rank, s.probability, s.chance, s.estimate, s.direct, s.best_no, s.offer_no,
    s.unusable, s.narrowed, s.took_us, s.error, o.closed, CASE WHEN o.closed THEN o.reward END AS reward,
    coalesce(o.recorded_ms <= s.judged_ms, false) AS known
FROM (
    SELECT * FROM shadow_choices
    WHERE placement = :placement AND policy = :policy AND decided_at >= :start AND decided_at < :end
        AND (NOT :first OR rank <= 1)
    ORDER BY decided_at DESC LIMIT :limit
) AS s LEFT JOIN LATERAL (
    SELECT {_HAS_CLOSED} AS closed, max(coalesce(reward, 0)) FILTER (WHERE {RESULT_KNOWN}) AS reward,
        min(recorded_ms) FILTER (WHERE {RESULT_KNOWN}) AS recorded_ms
    FROM outcomes
    WHERE decision_id = s.decision_id AND decided_at = s.decided_at AND offer_no = s.offer_no
) AS o ON true
ORDER BY s.decided_at, s.decision_id, s.rank
"""


# The planner does not know how many decisions are live, takes them for few, and would read and sort all of the window.
_BY_INDEX = tuple(text(f"SET LOCAL enable_{way} = off") for way in ("seqscan", "bitmapscan", "sort"))


class ComparisonReader:
    """Reads a window of the log. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def by_group(self, window: Window) -> list[dict[str, Any]]:
        """Decisions, failures, offers shown and open, and observed and accepted of those that are closed.

        By group and the policy that was to decide.
        """
        return await self._rows(_BY_GROUP, window)

    async def judged(self, window: Window, policy: str) -> list[dict[str, Any]]:
        """The slots that a policy was asked about, in the order of time, with what came of them.

        ``closed``: the reward window is; without it there is no ``reward``.
        ``known``: the outcome was known already when the policy was asked.
        """
        return await self._rows(_JUDGED, window, policy=policy)

    async def _rows(self, query: str, window: Window, **values: Any) -> list[dict[str, Any]]:
        async with transaction(self._engine) as connection:
            for setting in _BY_INDEX:
                await connection.execute(setting)
            return to_dicts(await connection.execute(text(query), asdict(window) | values))
