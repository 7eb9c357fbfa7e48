"""The report on a hold-out in Postgres: what the log says of each customer, summed up by side, and by part."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.holdouts.holdout import HoldoutEvent
from decisioning.log.store_sql import GROUP_OF
from decisioning.model.deciders import FIRING_PREFIX, HISTORY
from decisioning.reporting.holdout_report import (
    OUTCOMES,
    HoldoutDimension,
    Moments,
    Part,
    Side,
    Sides,
    Span,
)
from decisioning.reporting.offer_report import PERIODS
from decisioning.reporting.store_asked_days import (
    COLUMNS,
    asked_rows,
    between_days,
    find_rolled_up,
    fired_rows,
)
from decisioning.reporting.store_bounds import TIMEOUT_S, bounded
from storage.clock import to_datetime

_MAX_SUMMED = "1e15"

_IN_SPAN = "{0} >= cast(:start AS timestamptz) AND {0} < cast(:stop AS timestamptz)"
_OF_VERSION = "SELECT * FROM ({rows}) AS a WHERE a.version >= :version"
_CUSTOMERS = """
SELECT customer_id, bool_or(cast(:holdout AS text) = ANY(held)) AS held,
    bool_or(held && cast(:excluded AS text[])) AS excluded, min(first_at) AS first_at, sum(offers) AS offers,
    sum(closed) AS closed, sum(acceptances) AS acceptances, sum(value) AS value
FROM asked GROUP BY 1 HAVING min(first_at) IS NOT NULL
"""


# Somebody may ask in several placements at once: the first by its name counts, on both sides alike. Of a firing the
# placement was noted if it is the same on both sides; only then its decision may be looked at.
_FIRST_DECISIONS = f"""
SELECT DISTINCT ON (customer_id) customer_id, placement, channel, segments, control_group FROM (
    SELECT d.customer_id, d.placement, d.header ->> 'channel' AS channel, d.header -> 'segments' AS segments,
        {GROUP_OF} AS control_group, d.decision_id
    FROM decisions AS d JOIN customers AS c ON c.customer_id = d.customer_id AND c.first_at = d.decided_at
    WHERE {_IN_SPAN.format("d.decided_at")} AND d.policy <> '{HISTORY}'
        AND NOT starts_with(d.decision_id, '{FIRING_PREFIX}')
    UNION ALL
    SELECT f.customer_id, f.placement, f.channel, d.header -> 'segments',
        CASE WHEN d.decision_id IS NOT NULL THEN {GROUP_OF} END, f.decision_id
    FROM fired_customers AS f JOIN customers AS c ON c.customer_id = f.customer_id AND c.first_at = f.fired_at
    LEFT JOIN decisions AS d ON d.decision_id = f.decision_id AND {_IN_SPAN.format("d.decided_at")}
    WHERE {_IN_SPAN.format("f.fired_at")}
) AS first ORDER BY customer_id, placement, decision_id
"""
_JOIN_FIRST = "LEFT JOIN first_decisions AS f USING (customer_id)"
_JOIN_SEGMENTS = (
    f"{_JOIN_FIRST} LEFT JOIN LATERAL"
    " jsonb_array_elements_text(coalesce(f.segments, '[]')) AS s (segment) ON true"
)


def _period(name: str) -> tuple[str, str]:
    return f"to_char(date_trunc('{name}', m.first_at AT TIME ZONE cast(:zone AS text)), 'YYYY-MM-DD')", ""


_PARTS: Mapping[HoldoutDimension, tuple[str, str]] = {
    "day": _period("day"),
    "week": _period("week"),
    "month": _period("month"),
    "channel": ("f.channel", _JOIN_FIRST),
    "placement": ("f.placement", _JOIN_FIRST),
    "segment": ("s.segment", _JOIN_SEGMENTS),
    "control_group": ("f.control_group", _JOIN_FIRST),
}
"""The value of each dimension, and the joins that it needs."""


async def holdout_sides(
    engine: AsyncEngine,
    holdout_id: str,
    excluded: Sequence[str],
    span: Span,
    events: Sequence[HoldoutEvent],
    by: HoldoutDimension | None = None,
    zone: str = "UTC",
) -> tuple[Sides, dict[Part, Sides]]:
    """Sum up the customers who asked, or for whom a trigger fired, within ``span``: treated, and held out.

    Events count from a customer's first decision or firing in the span on. ``excluded``: hold-outs whose customers are
    left out. With ``by``, they are summed up for each of its values as well: of the day of that in the time zone
    ``zone``, or as its record says; who was in several segments counts in each. Raises ``Invalid`` if it takes longer
    than ``TIMEOUT_S``, and ``PostgresUnavailable``.
    """
    values: dict[str, Any] = {
        "holdout": holdout_id,
        "excluded": list(excluded),
        "version": span.version,
        "start": to_datetime(span.start_ms),
        "stop": to_datetime(span.stop_ms),
        "zone": zone,
    }
    if events:
        values["types"] = sorted({counted.event for counted in events})
    for place, counted in enumerate(events):
        values[f"type{place}"] = counted.event
        if counted.property is not None:
            values[f"property{place}"] = counted.property
    way_out = "name less time with since and until"
    if by is not None and by not in PERIODS:
        way_out += f", or leave out by={by}, for which first decisions are looked up in the log"
    async with bounded(engine, TIMEOUT_S, way_out) as connection:
        values["days"] = await find_rolled_up(connection, values["start"], values["stop"])
        ranges = between_days(values["start"], values["stop"], values["days"])
        for place, (start, stop) in enumerate(ranges):
            values |= {f"start{place}": start, f"stop{place}": stop}
        statement = text(_statement(events, len(ranges), by))
        rows = (await connection.execute(statement, values)).mappings().all()
    names = [*OUTCOMES, *(counted.label() for counted in events)]
    whole: dict[bool, Side] = {}
    parts: dict[Part, dict[bool, Side]] = defaultdict(dict)
    for row in rows:
        sides = parts[_value(row["part"], by)] if row["is_part"] else whole
        sides[row["held"]] = _side(row, names)
    return _sides(whole), {part: _sides(sides) for part, sides in parts.items()}


def _value(part: str | None, by: HoldoutDimension | None) -> Part:
    return part if part is None or by not in PERIODS else date.fromisoformat(part)


def _sides(by_held: Mapping[bool, Side]) -> Sides:
    return Sides(by_held.get(False, Side()), by_held.get(True, Side()))


def _side(row: Any, names: Sequence[str]) -> Side:
    moments = {
        name: Moments(row[f"total{place}"], row[f"variance{place}"]) for place, name in enumerate(names)
    }
    return Side(row["customers"], row["open"], row["closed"], moments)


def _statement(events: Sequence[HoldoutEvent], ranges: int, by: HoldoutDimension | None) -> str:
    """Write the statement. Nothing of the events but their number and kind becomes a part of it.

    ``ranges``: how many times there are that are not rolled up, and are read from the log. Rows with ``is_part`` are of
    the customers whose ``by`` is ``part``.
    """
    columns = ["c.acceptances", "c.value", *(f"h.figure{place}" for place in range(len(events)))]
    sums = ", ".join(
        f"coalesce(sum(m.figure{n}), 0) AS total{n}, var_samp(m.figure{n}) AS variance{n}"
        for n in range(len(columns))
    )
    figures = ", ".join(
        f"coalesce(cast({column} AS float), 0) AS figure{n}" for n, column in enumerate(columns)
    )
    asked = [f"SELECT {COLUMNS} FROM asked_days WHERE day = ANY(cast(:days AS date[]))"]
    asked.append(fired_rows())
    asked += [asked_rows(_in_range("d", place), _in_range("x", place)) for place in range(ranges)]
    common = (
        f"asked AS ({_OF_VERSION.format(rows=' UNION ALL '.join(asked))}),"
        f" customers AS MATERIALIZED ({_CUSTOMERS})"
    )
    joins = ""
    if events:
        common += f", happened AS ({_happened(events)})"
        joins = "LEFT JOIN happened AS h USING (customer_id)"
    common += (
        ", members AS (SELECT c.customer_id, c.first_at, c.held, c.offers, c.closed,"
        f" {figures} FROM customers AS c {joins} WHERE NOT c.excluded)"
    )
    summed = (
        "m.held, count(*) AS customers, cast(sum(m.offers - m.closed) AS bigint) AS open,"
        f" cast(sum(m.closed) AS bigint) AS closed, {sums} FROM members AS m"
    )
    whole = f"SELECT false AS is_part, cast(NULL AS text) AS part, {summed} GROUP BY m.held"
    if by is None:
        return f"WITH {common} {whole}"
    value, joins = _PARTS[by]
    if joins:
        common += f", first_decisions AS ({_FIRST_DECISIONS})"
    return f"WITH {common} {whole} UNION ALL SELECT true, {value}, {summed} {joins} GROUP BY 2, m.held"


def _in_range(table: str, place: int) -> str:
    return (
        f"{table}.decided_at >= cast(:start{place} AS timestamptz)"
        f" AND {table}.decided_at < cast(:stop{place} AS timestamptz)"
    )


def _happened(events: Sequence[HoldoutEvent]) -> str:
    figures = []
    for place, counted in enumerate(events):
        of_type = f"v.type = :type{place}"
        if counted.property is None:
            figures.append(f"count(*) FILTER (WHERE {of_type}) AS figure{place}")
            continue
        number = f"v.properties -> cast(:property{place} AS text)"
        # Bounded before it is a float, since JSON knows no bounds.
        bounded = f"least(greatest(cast({number} AS numeric), -{_MAX_SUMMED}), {_MAX_SUMMED})"
        figures.append(
            f"sum(CASE WHEN jsonb_typeof({number}) = 'number' THEN cast({bounded} AS float) END)"
            f" FILTER (WHERE {of_type}) AS figure{place}"
        )
    return (
        f"SELECT v.customer_id, {', '.join(figures)} FROM events AS v JOIN customers AS c USING (customer_id)"
        " WHERE v.type = ANY(cast(:types AS text[])) AND v.occurred_at >= cast(:start AS timestamptz)"
        " AND v.occurred_at >= c.first_at AND v.occurred_at < cast(:stop AS timestamptz) GROUP BY 1"
    )
