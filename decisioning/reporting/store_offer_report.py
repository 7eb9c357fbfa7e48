"""The report on offers in Postgres: counts of closed reward windows, from the roll-up, or from the log.

The log is read for what the roll-up does not tell apart.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.errors import Invalid
from decisioning.log.store_sql import GROUP_OF, square_of
from decisioning.model.deciders import HISTORY
from decisioning.reporting.offer_report import COUNTS, PERIODS, SQUARES, Dimension, ReportScope
from decisioning.reporting.store_bounds import TIMEOUT_S, bounded
from storage.postgres import to_columns, to_dicts

Rows = TypeVar("Rows")

MAX_ROWS = 10_000
_CLOSED = "accepted_closed + rejected_closed + ignored + unobserved"
_ROLLED_UP = f"""
SELECT hour AS at, placement, policy, offer_id, grp,
    {_CLOSED} AS decided, decided - ({_CLOSED}) AS open, presented_closed AS presented, clicked_closed AS clicked,
    accepted_closed AS accepted, rejected_closed AS rejected, ignored, unobserved, value_closed AS value,
    value_squares_closed AS value_squares, {_CLOSED} - squared_closed AS unsquared
FROM acceptance WHERE {{range}}
"""
SPAN = """
SELECT coalesce(cast(:since AS timestamptz), '-infinity') AS start,
    coalesce(cast(:until AS timestamptz), 'infinity') AS stop
"""
_LOGGED = f"""
SELECT d.decided_at AS at, d.placement, d.policy, o.offer ->> 'offer_id' AS offer_id, {GROUP_OF} AS grp,
    o.offer -> 'treatment' ->> 'treatment_id' AS treatment, d.header -> 'segments' AS segments,
    cast(c.closed AS integer) AS decided, cast(NOT c.closed AS integer) AS open,
    cast(c.closed AND t.presented AS integer) AS presented, cast(c.closed AND t.clicked AS integer) AS clicked,
    cast(c.closed AND t.accepted AS integer) AS accepted, cast(c.closed AND t.rejected AS integer) AS rejected,
    cast(c.closed AND t.ignored AS integer) AS ignored, cast(c.closed AND t.unobserved AS integer) AS unobserved,
    CASE WHEN c.closed THEN t.value ELSE 0 END AS value,
    CASE WHEN c.closed THEN {square_of("t.value")} ELSE 0 END AS value_squares, 0 AS unsquared
FROM decisions AS d CROSS JOIN LATERAL jsonb_array_elements(d.header -> 'offers') AS o (offer)
LEFT JOIN told AS t ON t.decision_id = d.decision_id AND t.decided_at = d.decided_at
    AND t.offer_id = o.offer ->> 'offer_id'
CROSS JOIN LATERAL (SELECT coalesce(t.accepted OR t.rejected OR t.ignored OR t.unobserved, false) AS closed) AS c
WHERE d.decided_at >= (SELECT start FROM span) AND d.decided_at < (SELECT stop FROM span)
    AND NOT coalesce(t.withdrawn, false){{log_filters}}
"""
# As the roll-up counts them, see ``OUTCOME_COUNTS``: an answer in time counts when its window is closed.
TOLD = f"""
SELECT x.decision_id, x.decided_at, x.offer_id, bool_or(x.outcome = 'withdrawn') AS withdrawn,
    bool_or(x.outcome = 'presented' AND NOT x.late) AS presented,
    bool_or(x.outcome = 'clicked' AND NOT x.late) AS clicked,
    coalesce(bool_or(x.outcome = 'closed' AND x.reward = 1
        OR x.outcome = 'accepted' AND NOT x.late AND x.policy = '{HISTORY}'), false) AS accepted,
    coalesce(bool_or(x.outcome = 'closed' AND x.reward = 0
        OR x.outcome = 'rejected' AND NOT x.late AND x.policy = '{HISTORY}'), false) AS rejected,
    bool_or(x.outcome = 'expired' AND x.reward IS NOT NULL OR x.outcome = 'closed' AND x.reward IS NULL) AS ignored,
    bool_or(x.outcome = 'expired' AND x.reward IS NULL) AS unobserved,
    coalesce(sum(x.value) FILTER (WHERE x.outcome = 'accepted' AND NOT x.late), 0) AS value{{more}}
FROM outcomes AS x
WHERE x.decided_at >= (SELECT start FROM span) AND x.decided_at < (SELECT stop FROM span)
GROUP BY 1, 2, 3
"""
"""What was told of each offer decided in ``SPAN``. ``more``: further columns of ``outcomes AS x``, with a comma."""
_OFFERS = "unnest(cast(:offer_ids AS text[]), cast(:groups AS text[]), cast(:goals AS text[]))"
PLACEMENTS = "unnest(cast(:placement_ids AS text[]), cast(:channels AS text[]))"
_COLUMNS: Mapping[Dimension, str] = {
    **{p: f"cast(date_trunc('{p}', r.at AT TIME ZONE cast(:zone AS text)) AS date)" for p in PERIODS},
    "offer": "r.offer_id",
    "group": "o.grp",
    "goal": "o.goal",
    "channel": "p.channel",
    "placement": "r.placement",
    "segment": "s.segment",
    "treatment": "r.treatment",
    "policy": "r.policy",
    "control_group": "r.grp",
}
_FLOATS = {"value", "value_squares"}
_FILTERS = {"offer": "offer_id", "placement": "placement"}


async def offer_counts(
    engine: AsyncEngine,
    by: Sequence[Dimension],
    scope: ReportScope,
    offers: Mapping[str, tuple[str, str]],
    channels: Mapping[str, str],
) -> Mapping[str, Sequence[Any]]:
    """Count what became of the decided offers within ``scope``, by ``by`` and always by ``control_group``.

    ``offers``: group and goal by offer id. ``channels``: by placement. Returns columns: the dimensions by name,
    ``COUNTS`` and ``SQUARES``. Raises ``Invalid`` if it takes longer than ``TIMEOUT_S`` or has more than ``MAX_ROWS``
    rows, and ``PostgresUnavailable``.
    """
    names = [*by] if "control_group" in by else [*by, "control_group"]
    statement = text(_statement(names, scope))
    values: dict[str, Any] = {
        "since": scope.since,
        "until": scope.until,
        "zone": scope.zone,
        "offer": scope.offer,
        "placement": scope.placement,
        "offer_ids": [*offers],
        "groups": [group for group, _ in offers.values()],
        "goals": [goal for _, goal in offers.values()],
        "placement_ids": [*channels],
        "channels": [*channels.values()],
    }
    way_out = ", or leave out treatment and segment, which are read from the log"
    columns = await _run(engine, statement, values, to_columns, way_out)
    _check_size(len(columns["control_group"]))
    return columns


async def run_report(
    engine: AsyncEngine, statement: TextClause, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Run the statement of a report with those of the ``values`` that it names, ``most`` (rows) among them.

    Raises ``Invalid`` if it takes longer than ``TIMEOUT_S`` or has more than ``MAX_ROWS`` rows, and
    ``PostgresUnavailable``.
    """
    rows = await _run(engine, statement, values, to_dicts)
    _check_size(len(rows))
    return rows


async def _run(
    engine: AsyncEngine,
    statement: TextClause,
    values: Mapping[str, Any],
    read: Callable[[CursorResult[Any]], Rows],
    way_out: str = "",
) -> Rows:
    """Run the statement of a report, and read its rows in a thread. ``way_out``: besides naming less time."""
    async with bounded(engine, TIMEOUT_S, f"name less time with since and until{way_out}") as connection:
        needed = {name: {**values, "most": MAX_ROWS + 1}[name] for name in statement._bindparams}
        found = await connection.execute(statement, needed)
        # They have all come, so reading them waits for nothing; of thousands it holds up whoever else is served.
        return await asyncio.to_thread(read, found)


def _check_size(rows: int) -> None:
    if rows > MAX_ROWS:
        raise Invalid(
            "by",
            f"the report has more than {MAX_ROWS} rows: name fewer dimensions, or less time with since and until",
        )


def _statement(names: Sequence[Dimension], scope: ReportScope) -> str:
    """Write the statement for dimensions. Only names of this module and of ``Dimension`` become a part of it."""
    bounds = {"since": "hour >= :since", "until": "hour < :until"}
    given = [condition for name, condition in bounds.items() if getattr(scope, name) is not None]
    filters = [f"{column} = :{name}" for name, column in _FILTERS.items() if getattr(scope, name) is not None]
    in_range = " AND ".join(["true", *given, *filters])
    log_filters = "".join(
        f" AND {'d.placement' if name == 'placement' else 'o.offer ->> ' + repr(column)} = :{name}"
        for name, column in _FILTERS.items()
        if getattr(scope, name) is not None
    )
    if scope.needs_log(names):
        common = f"WITH span AS MATERIALIZED ({SPAN}), told AS ({TOLD.format(more='')}) "
        rows = _LOGGED.format(log_filters=log_filters)
    else:
        common, rows = "", _ROLLED_UP.format(range=in_range)
    joins = [f"({rows}) AS r"]
    if {"group", "goal"} & {*names}:
        joins.append(f"LEFT JOIN {_OFFERS} AS o (offer_id, grp, goal) ON o.offer_id = r.offer_id")
    if "channel" in names:
        joins.append(f"LEFT JOIN {PLACEMENTS} AS p (placement, channel) ON p.placement = r.placement")
    if "segment" in names:
        joins.append("LEFT JOIN LATERAL jsonb_array_elements_text(r.segments) AS s (segment) ON true")
    columns = ", ".join(f'{_COLUMNS[name]} AS "{name}"' for name in names)
    ordinals = ", ".join(str(place) for place in range(1, len(names) + 1))
    sums = ", ".join(f"sum({c})::{'float' if c in _FLOATS else 'bigint'} AS {c}" for c in (*COUNTS, *SQUARES))
    return (
        f"{common}SELECT {columns}, {sums} FROM {' '.join(joins)} GROUP BY {ordinals}"
        f" HAVING sum(decided) + sum(open) > 0 ORDER BY {ordinals} LIMIT :most"
    )
