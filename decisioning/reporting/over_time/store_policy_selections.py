"""Selections of a policy by offer and time, from the roll-up of the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.reporting.store_bounds import TIMEOUT_S, bounded
from storage.postgres import where

Per = Literal["hour", "day"]

_OVER_TIME = """
WITH counted AS MATERIALIZED (
    SELECT {bucket} AS at, offer_id, sum(decided)::bigint AS decided
    FROM acceptance {condition} AND hour >= :since AND hour < :until GROUP BY 1, 2
), ranked AS MATERIALIZED (
    SELECT offer_id, sum(decided)::bigint AS decided,
        row_number() OVER (ORDER BY sum(decided) DESC, offer_id) AS place
    FROM counted GROUP BY 1 HAVING sum(decided) > 0
)
SELECT c.at, CASE WHEN r.place <= :top THEN r.offer_id END AS offer_id, min(r.place) AS place,
    sum(c.decided)::bigint AS decided, (SELECT count(*) FROM ranked) AS offers
FROM counted AS c JOIN ranked AS r USING (offer_id)
GROUP BY 1, 2 ORDER BY 1, 3
"""
_BUCKETS: dict[Per, str] = {
    "hour": "hour",
    "day": "date_trunc('day', hour AT TIME ZONE cast(:zone AS text)) AT TIME ZONE cast(:zone AS text)",
}


@dataclass(frozen=True, slots=True)
class TimeSelections:
    """What was selected in one hour or day, which begins ``at``: by offer, ``None`` for all but the top ones."""

    at: datetime
    selected: dict[str | None, int]


@dataclass(frozen=True, slots=True)
class SelectionsOverTime:
    """Selections of a policy: ``totals`` of the top offers, most first; ``rest``: of the others; ``offers``: of all."""

    totals: dict[str, int]
    rest: int
    offers: int
    times: Sequence[TimeSelections]


async def selections_over_time(
    engine: AsyncEngine,
    policy: str,
    *,
    since: datetime,
    until: datetime,
    per: Per,
    zone: str,
    top: int,
    placement: str | None = None,
) -> SelectionsOverTime:
    """Count what ``policy`` (``name@version``) selected in each hour or day, from ``since`` to before ``until``.

    Days are those of the time zone ``zone``; an hour of UTC counts as a whole in the day in which it begins. The
    ``top`` offers of the whole time are told apart. Raises ``Invalid`` if it takes longer than ``TIMEOUT_S``, and
    ``PostgresUnavailable``.
    """
    condition, values = where({"policy =": policy, "placement =": placement})
    query = text(_OVER_TIME.format(bucket=_BUCKETS[per], condition=condition))
    values |= {"since": since, "until": until, "top": top}
    if per == "day":
        values["zone"] = zone
    async with bounded(engine, TIMEOUT_S, "name less time with since and until") as connection:
        rows: Sequence[Any] = (await connection.execute(query, values)).all()
    ranked = sorted((row for row in rows if row.offer_id is not None), key=lambda row: row.place)
    totals: dict[str, int] = dict.fromkeys((row.offer_id for row in ranked), 0)
    rest, times = 0, dict[datetime, dict[str | None, int]]()
    for row in rows:
        times.setdefault(row.at, {})[row.offer_id] = row.decided
        if row.offer_id is None:
            rest += row.decided
        else:
            totals[row.offer_id] += row.decided
    return SelectionsOverTime(
        totals,
        rest,
        rows[0].offers if rows else 0,
        [TimeSelections(at, selected) for at, selected in times.items() if sum(selected.values()) > 0],
    )
