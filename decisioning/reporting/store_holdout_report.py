"""The report on a hold-out in Postgres: what the log says of each customer, summed up by side."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.errors import Invalid
from decisioning.holdouts.holdout import HoldoutEvent
from decisioning.model.deciders import FIRING_PREFIX, HISTORY
from decisioning.reporting.holdout_report import OUTCOMES, Moments, Side, Span
from storage.clock import to_datetime
from storage.errors import PostgresUnavailable
from storage.postgres import transaction

TIMEOUT_S = 8
"""A report that takes longer is given up: a request waits for it."""
_CANCELED = "57014"
_PLANNING = {"enable_nestloop": "off", "jit": "off", "work_mem": "64MB"}
_MAX_SUMMED = "1e15"

# Workers of earlier versions archive without the columns. The record has all of it, but is far slower to read.
_VERSION = "coalesce(d.catalog_version, (d.header ->> 'catalog_version')::bigint)"
_HELD = (
    "CASE WHEN d.catalog_version IS NULL AND d.header ? 'holdouts'"
    " THEN ARRAY(SELECT jsonb_array_elements_text(d.header -> 'holdouts')) ELSE coalesce(d.holdouts, '{}') END"
)
_OFFERED = "coalesce(d.offered, jsonb_array_length(d.header -> 'numbers'))"
# A decision that was taken back counts as asked: of one without offers nobody can tell whether it was.
_ASKED = f"""
SELECT a.customer_id, a.decision_id, a.decided_at, a.offers, cast(:holdout AS text) = ANY(a.held) AS held,
    a.held && cast(:excluded AS text[]) AS excluded, starts_with(a.decision_id, '{FIRING_PREFIX}') AS fired
FROM (
    SELECT d.customer_id, d.decision_id, d.decided_at, {_OFFERED} AS offers,
        {_HELD} AS held
    FROM decisions AS d
    WHERE d.decided_at >= cast(:start AS timestamptz) AND d.decided_at < cast(:stop AS timestamptz)
        AND d.policy <> '{HISTORY}' AND {_VERSION} >= :version
) AS a
"""
# Whoever a trigger is about did not ask, and of those who are not worth a contact in any channel nothing is logged.
_CUSTOMERS = """
SELECT customer_id, bool_or(held) AS held, bool_or(excluded) AS excluded,
    min(decided_at) FILTER (WHERE NOT fired) AS first_at, sum(offers) AS offers
FROM asked GROUP BY 1 HAVING NOT bool_and(fired)
"""
# As the report on offers counts: an answer in time counts when its window is closed.
_TOLD = """
SELECT x.decision_id, x.decided_at, x.offer_id, bool_or(x.outcome IN ('closed', 'expired', 'withdrawn')) AS closed,
    bool_or(x.outcome = 'closed' AND x.reward = 1) AS accepted,
    coalesce(sum(x.value) FILTER (WHERE x.outcome = 'accepted' AND NOT x.late), 0) AS value
FROM outcomes AS x
WHERE x.decided_at >= cast(:start AS timestamptz) AND x.decided_at < cast(:stop AS timestamptz)
    AND x.outcome IN ('closed', 'expired', 'withdrawn', 'accepted')
GROUP BY 1, 2, 3
"""
_EARNED = """
SELECT a.customer_id, count(*) AS closed, cast(count(*) FILTER (WHERE t.accepted) AS float) AS acceptances,
    sum(t.value) AS value
FROM asked AS a JOIN told AS t USING (decision_id, decided_at) WHERE t.closed GROUP BY 1
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
    try:
        async with transaction(engine) as connection:
            for setting, value in {**_PLANNING, "statement_timeout": str(TIMEOUT_S * 1000)}.items():
                await connection.execute(text(f"SET LOCAL {setting} = '{value}'"))
            rows = (await connection.execute(text(_statement(events)), values)).mappings().all()
    except PostgresUnavailable as error:
        cause = getattr(error.__cause__, "orig", None)
        if getattr(cause, "sqlstate", None) != _CANCELED:
            raise
        raise Invalid(
            "since", f"the report takes longer than {TIMEOUT_S} s: name less time with since and until"
        ) from None
    names = [*OUTCOMES, *(counted.label() for counted in events)]
    sides = {row["held"]: _side(row, names) for row in rows}
    return sides.get(False, Side()), sides.get(True, Side())


def _side(row: Any, names: Sequence[str]) -> Side:
    moments = {
        name: Moments(row[f"total{place}"], row[f"variance{place}"]) for place, name in enumerate(names)
    }
    return Side(row["customers"], row["open"], row["closed"], moments)


def _statement(events: Sequence[HoldoutEvent]) -> str:
    """Write the statement. Nothing of the events but their number and kind becomes a part of it."""
    columns = ["e.acceptances", "e.value", *(f"h.figure{place}" for place in range(len(events)))]
    sums = ", ".join(
        f"coalesce(sum(m.figure{n}), 0) AS total{n}, var_samp(m.figure{n}) AS variance{n}"
        for n in range(len(columns))
    )
    figures = ", ".join(
        f"coalesce(cast({column} AS float), 0) AS figure{n}" for n, column in enumerate(columns)
    )
    common = (
        f"asked AS MATERIALIZED ({_ASKED}), customers AS MATERIALIZED ({_CUSTOMERS}),"
        f" told AS ({_TOLD}), earned AS ({_EARNED})"
    )
    joins = "LEFT JOIN earned AS e USING (customer_id)"
    if events:
        common += f", happened AS ({_happened(events)})"
        joins += " LEFT JOIN happened AS h USING (customer_id)"
    return (
        f"WITH {common} SELECT m.held, count(*) AS customers, cast(sum(m.offers - m.closed) AS bigint) AS open,"
        f" cast(sum(m.closed) AS bigint) AS closed, {sums} FROM (SELECT c.held, c.offers,"
        f" coalesce(e.closed, 0) AS closed, {figures} FROM customers AS c {joins} WHERE NOT c.excluded) AS m"
        " GROUP BY 1"
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
