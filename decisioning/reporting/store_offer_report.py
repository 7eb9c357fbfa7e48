"""The report on offers in Postgres: counts of closed reward windows, from the roll-ups, or from the log.

Days that are rolled up are read by day, or up to eight of them at once, other times by hour; the log is read for what
roll-ups do not tell apart.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import Any, TypeVar

import msgspec
import numpy as np
from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.errors import Invalid
from decisioning.log.store_sql import GROUP_OF, square_of
from decisioning.model.deciders import HISTORY
from decisioning.reporting.days.store_report_days import ReportDays, find_report_days, find_report_spans
from decisioning.reporting.offer_report import COUNTS, PERIODS, SQUARES, Dimension, ReportScope
from decisioning.reporting.store_bounds import PLANNING, TIMEOUT_S, bounded

Rows = TypeVar("Rows")

MAX_ROWS = 10_000
IN_ZONE = "AT TIME ZONE cast(:zone AS text)"
DAY_IN_ZONE = "cast(day AS timestamp)"
"""A time of a day that is read as a whole: wherever the zone is, some of the day of UTC is that day there."""
IN_DAYS = "day = ANY(cast(:days AS date[]))"
_IN_SPANS = "day = ANY(cast(:spans AS date[]))"
_ROLLED_UP = {
    "chosen": "decided",
    **{name: f"{name}_closed" for name in ("presented", "clicked", "accepted", "rejected")},
    "ignored": "ignored",
    "unobserved": "unobserved",
    "value": "value_closed",
    "value_squares": "value_squares_closed",
    "squared": "squared_closed",
}
"""The columns of both roll-ups by the sums that are made of them."""
_SPAN = """
SELECT coalesce(cast(:since AS timestamptz), '-infinity') AS start,
    coalesce(cast(:until AS timestamptz), 'infinity') AS stop
"""
_LOGGED = f"""
SELECT d.decided_at {IN_ZONE} AS at, d.placement, d.policy, o.offer ->> 'offer_id' AS offer_id, {GROUP_OF} AS grp,
    o.offer -> 'treatment' ->> 'treatment_id' AS treatment, d.header -> 'segments' AS segments,
    1 AS chosen, cast(c.closed AS integer) AS squared,
    cast(c.closed AND t.presented AS integer) AS presented, cast(c.closed AND t.clicked AS integer) AS clicked,
    cast(c.closed AND t.accepted AS integer) AS accepted, cast(c.closed AND t.rejected AS integer) AS rejected,
    cast(c.closed AND t.ignored AS integer) AS ignored, cast(c.closed AND t.unobserved AS integer) AS unobserved,
    CASE WHEN c.closed THEN t.value ELSE 0 END AS value,
    CASE WHEN c.closed THEN {square_of("t.value")} ELSE 0 END AS value_squares
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
FROM outcomes AS x WHERE {{decided}} GROUP BY 1, 2, 3
"""
"""What was told of each offer. ``more``: further columns of ``outcomes AS x``, with a comma. ``decided``: when."""
_IN_SPAN = "x.decided_at >= (SELECT start FROM span) AND x.decided_at < (SELECT stop FROM span)"
_OFFERS = "unnest(cast(:offer_ids AS text[]), cast(:groups AS text[]), cast(:goals AS text[]))"
PLACEMENTS = "unnest(cast(:placement_ids AS text[]), cast(:channels AS text[]))"
_COLUMNS: Mapping[Dimension, str] = {
    **{p: f"cast(date_trunc('{p}', {{at}}) AS date)" for p in PERIODS},
    "day": "cast({at} AS date)",
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
_FIGURES = (*COUNTS, *SQUARES)
_CLOSED = "a.accepted + a.rejected + a.ignored + a.unobserved"
_DERIVED = {
    "decided": _CLOSED,
    "open": f"a.chosen - ({_CLOSED})",
    "unsquared": f"{_CLOSED} - a.squared",
}
"""Figures that are computed of sums: of each row they would take as long as the sums do."""
_SUMMED = ("chosen", *(name for name in _FIGURES if name not in _DERIVED), "squared")
_FLOATS = {"value", "value_squares"}
_FILTERS = {"offer": "offer_id", "placement": "placement"}


async def offer_counts(
    engine: AsyncEngine,
    by: Sequence[Dimension],
    scope: ReportScope,
    offers: Mapping[str, tuple[str, str]],
    channels: Mapping[str, str],
) -> Mapping[str, Any]:
    """Count what became of the decided offers within ``scope``, by ``by`` and always by ``control_group``.

    ``offers``: group and goal by offer id. ``channels``: by placement. Returns columns: lists of the dimensions by
    name, arrays of ``COUNTS`` and ``SQUARES``. Raises ``Invalid`` if it takes longer than ``TIMEOUT_S`` or has more
    than ``MAX_ROWS`` rows, and ``PostgresUnavailable``.
    """
    names = [*by] if "control_group" in by else [*by, "control_group"]
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
    from_log = scope.needs_log(names)
    way_out = ", or leave out treatment and segment, which are read from the log"
    async with bounded_report(engine, way_out, in_order=not from_log) as connection:
        days = None if from_log else await _find_days_and_spans(connection, scope, names)
        values |= {} if days is None else days.values()
        columns = await run_report(connection, text(_statement(names, scope, days)), values, _read_columns)
    check_size(len(columns["control_group"]))
    return columns


async def _find_days_and_spans(
    connection: AsyncConnection, scope: ReportScope, names: Sequence[Dimension]
) -> ReportDays:
    days = await find_report_days(connection, scope, names)
    return await find_report_spans(connection, days, scope.zone, names)


def bounded_report(
    engine: AsyncEngine, way_out: str = "", *, in_order: bool = False
) -> AbstractAsyncContextManager[AsyncConnection]:
    """Give a connection for a report. ``way_out``: besides naming less time.

    ``in_order``: by one process, as sums of floats are the same to the last bit only if they are made in one order.

    Raises ``Invalid`` if a statement takes longer than ``TIMEOUT_S``, and ``PostgresUnavailable``.
    """
    settings = PLANNING | ({"max_parallel_workers_per_gather": "0"} if in_order else {})
    return bounded(engine, TIMEOUT_S, f"name less time with since and until{way_out}", settings=settings)


async def run_report(
    connection: AsyncConnection,
    statement: TextClause,
    values: Mapping[str, Any],
    read: Callable[[CursorResult[Any]], Rows],
) -> Rows:
    """Run a report with those of the ``values`` that it names, ``most`` (rows) among them, and read it in a thread."""
    needed = {name: {**values, "most": MAX_ROWS + 1}[name] for name in statement._bindparams}
    found = await connection.execute(statement, needed)
    # They have all come, so reading them waits for nothing; of thousands it holds up whoever else is served.
    return await asyncio.to_thread(read, found)


def check_size(rows: int) -> None:
    """Raise ``Invalid`` if a report has more than ``MAX_ROWS`` rows."""
    if rows > MAX_ROWS:
        raise Invalid(
            "by",
            f"the report has more than {MAX_ROWS} rows: name fewer dimensions, or less time with since and until",
        )


def _statement(names: Sequence[Dimension], scope: ReportScope, days: ReportDays | None) -> str:
    """Write the statement for dimensions. Only names of this module and of ``Dimension`` become a part of it.

    ``days``: what is rolled up; ``None`` if the log is to be read.
    """
    given = {name: column for name, column in _FILTERS.items() if getattr(scope, name) is not None}
    joins = []
    if {"group", "goal"} & {*names}:
        joins.append(f"LEFT JOIN {_OFFERS} AS o (offer_id, grp, goal) ON o.offer_id = r.offer_id")
    if "channel" in names:
        joins.append(f"LEFT JOIN {PLACEMENTS} AS p (placement, channel) ON p.placement = r.placement")
    if "segment" in names:
        joins.append("LEFT JOIN LATERAL jsonb_array_elements_text(r.segments) AS s (segment) ON true")
    ordinals = ", ".join(str(place) for place in range(1, len(names) + 1))

    def rows_of(source: str, at: str, counts: Sequence[str]) -> str:
        columns = ", ".join(f'{_COLUMNS[name].format(at=at)} AS "{name}"' for name in names)
        summed = ", ".join(f"{count} AS {name}" for name, count in zip(_SUMMED, counts, strict=True))
        return f"SELECT {columns}, {summed} FROM {source} AS r {' '.join(joins)}"

    if days is None:
        common = f"WITH span AS MATERIALIZED ({_SPAN}), told AS ({TOLD.format(more='', decided=_IN_SPAN)}) "
        in_log = {name: f"o.offer ->> {column!r}" for name, column in given.items()}
        in_log |= {"placement": "d.placement"} if "placement" in given else {}
        rows = rows_of(f"({_LOGGED.format(log_filters=_all_equal(in_log))})", "r.at", _SUMMED)
    else:
        common, filters = "", _all_equal({name: f"r.{column}" for name, column in given.items()})
        # Sums of floats are exact for counts, and take a part of the time that those of whole numbers of 64 bits do.
        counts = [f"cast(r.{_ROLLED_UP[name]} AS float)" for name in _SUMMED]
        # Days are summed before hours come to them: through the union every row would be copied, in all its columns.
        sums = [f"sum({count})" for count in counts]
        rolled_up = (
            ("acceptance_spans", _IN_SPANS, days.spans),
            ("acceptance_days", IN_DAYS, days.days),
        )
        rows = "".join(
            f"{rows_of(source, DAY_IN_ZONE, sums)} WHERE {within}{filters} GROUP BY {ordinals} UNION ALL "
            for source, within, some in rolled_up
            if some
        )
        rows += f"{rows_of('acceptance', f'hour {IN_ZONE}', counts)} WHERE {days.left_over('hour')}{filters}"
    columns = ", ".join(f'r."{name}"' for name in names)
    summed = ", ".join(f"sum(r.{c})::{'float' if c in _FLOATS else 'bigint'} AS {c}" for c in _SUMMED)
    rows = (
        f"SELECT {columns}, {summed} FROM ({rows}) AS r GROUP BY {ordinals}"
        f" HAVING sum(r.chosen) > 0 ORDER BY {ordinals} LIMIT :most"
    )
    # The driver makes rows in the event loop, thousands of them for some time. A column it only hands on.
    columns = ", ".join(f'cast(json_agg(a."{name}") AS text) AS "{name}"' for name in names)
    figures = ", ".join(
        f"string_agg({_send(name)}({_DERIVED.get(name, f'a.{name}')}), cast('' AS bytea)) AS {name}"
        for name in _FIGURES
    )
    return f"{common}SELECT {columns}, {figures} FROM ({rows}) AS a"


def _send(figure: str) -> str:
    return "float8send" if figure in _FLOATS else "int8send"


def _read_columns(found: CursorResult[Any]) -> dict[str, Any]:
    """Return the columns of the one row that has each as a whole: a figure as its bytes, a dimension as JSON."""
    return {name: _read_column(name, whole) for name, whole in found.one()._mapping.items()}


def _read_column(name: str, whole: Any) -> Any:
    if whole is None:
        return []
    if name in _FIGURES:
        return np.frombuffer(whole, ">f8" if name in _FLOATS else ">i8")
    return msgspec.json.decode(whole, type=list[date] if name in PERIODS else list[str | None])


def _all_equal(columns: Mapping[str, str]) -> str:
    """Write the conditions that columns have the values of the parameters by whose names they come."""
    return "".join(f" AND {column} = :{name}" for name, column in columns.items())
