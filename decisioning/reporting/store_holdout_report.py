"""The report on a hold-out in Postgres: what the log says of each customer, summed up by side."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.holdouts.holdout import HoldoutEvent
from decisioning.reporting.holdout_report import OUTCOMES, Moments, Side, Span
from decisioning.reporting.store_asked_days import COLUMNS, asked_rows, between_days, find_rolled_up
from decisioning.reporting.store_bounds import TIMEOUT_S, bounded
from storage.clock import to_datetime

_MAX_SUMMED = "1e15"

_OF_VERSION = "SELECT * FROM ({rows}) AS a WHERE a.version >= :version"
_CUSTOMERS = """
SELECT customer_id, bool_or(cast(:holdout AS text) = ANY(held)) AS held,
    bool_or(held && cast(:excluded AS text[])) AS excluded, min(first_at) AS first_at, sum(offers) AS offers,
    sum(closed) AS closed, sum(acceptances) AS acceptances, sum(value) AS value
FROM asked GROUP BY 1 HAVING min(first_at) IS NOT NULL
"""


async def holdout_sides(
    engine: AsyncEngine, holdout_id: str, excluded: Sequence[str], span: Span, events: Sequence[HoldoutEvent]
) -> tuple[Side, Side]:
    """Sum up the customers who asked within ``span``: who were treated, and who were held out.

    Events count from a customer's first decision in the span on. ``excluded``: hold-outs whose customers are left out.
    Raises ``Invalid`` if it takes longer than ``TIMEOUT_S``, and ``PostgresUnavailable``.
    """
    values: dict[str, Any] = {
        "holdout": holdout_id,
        "excluded": list(excluded),
        "version": span.version,
        "start": to_datetime(span.start_ms),
        "stop": to_datetime(span.stop_ms),
    }
    if events:
        values["types"] = sorted({counted.event for counted in events})
    for place, counted in enumerate(events):
        values[f"type{place}"] = counted.event
        if counted.property is not None:
            values[f"property{place}"] = counted.property
    async with bounded(engine, TIMEOUT_S, "name less time with since and until") as connection:
        # One snapshot: the rows of a day that has a mark must not be gone, or be another roll-up's, when they are read.
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        values["days"] = await find_rolled_up(connection, values["start"], values["stop"])
        ranges = between_days(values["start"], values["stop"], values["days"])
        for place, (start, stop) in enumerate(ranges):
            values |= {f"start{place}": start, f"stop{place}": stop}
        rows = (await connection.execute(text(_statement(events, len(ranges))), values)).mappings().all()
    names = [*OUTCOMES, *(counted.label() for counted in events)]
    sides = {row["held"]: _side(row, names) for row in rows}
    return sides.get(False, Side()), sides.get(True, Side())


def _side(row: Any, names: Sequence[str]) -> Side:
    moments = {
        name: Moments(row[f"total{place}"], row[f"variance{place}"]) for place, name in enumerate(names)
    }
    return Side(row["customers"], row["open"], row["closed"], moments)


def _statement(events: Sequence[HoldoutEvent], ranges: int) -> str:
    """Write the statement. Nothing of the events but their number and kind becomes a part of it.

    ``ranges``: how many times there are that are not rolled up, and are read from the log.
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
    asked += [asked_rows(_in_range("d", place), _in_range("x", place)) for place in range(ranges)]
    common = (
        f"asked AS ({_OF_VERSION.format(rows=' UNION ALL '.join(asked))}),"
        f" customers AS MATERIALIZED ({_CUSTOMERS})"
    )
    joins = ""
    if events:
        common += f", happened AS ({_happened(events)})"
        joins = "LEFT JOIN happened AS h USING (customer_id)"
    return (
        f"WITH {common} SELECT m.held, count(*) AS customers, cast(sum(m.offers - m.closed) AS bigint) AS open,"
        f" cast(sum(m.closed) AS bigint) AS closed, {sums}"
        f" FROM (SELECT c.held, c.offers, c.closed, {figures} FROM customers AS c {joins} WHERE NOT c.excluded) AS m"
        " GROUP BY 1"
    )


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
