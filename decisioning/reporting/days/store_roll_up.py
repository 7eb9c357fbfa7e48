"""Rolls days up for the reports on offers and on calibration, which read them in place of hours and of the log.

A day (UTC) is rolled up once all of its reward windows are closed. Whatever changes the roll-up by hour afterwards
takes its mark away, by triggers of the table, and it is rolled up anew; until then it is read by hour.

The days of a report on offers are added up once more: those of a month that are rolled up, from its 1st, 9th, 17th and
25th on. The mark of such a span says which days it has, and goes with the mark of any of them.
"""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.model.deciders import HISTORY
from decisioning.reporting.days.store_each_day import DAY, roll_up_each, start_of
from decisioning.reporting.store_calibration import predictions
from storage.locks import ARCHIVER_LOCK, REPORT_DAYS_LOCK
from storage.postgres import transaction

SURELY_CLOSED = timedelta(days=368)
"""No reward window is open for so long: whatever the roll-up by hour says, nothing more is waited for."""

_COUNTS = (
    "decided",
    "presented_closed",
    "clicked_closed",
    "accepted_closed",
    "rejected_closed",
    "ignored",
    "unobserved",
    "value_closed",
    "value_squares_closed",
    "squared_closed",
)
_DAY_OF_HOUR = "cast(a.hour AT TIME ZONE 'UTC' AS date)"
# Each day is found by the index on hours; there may be many millions of them.
_DUE = text(f"""
WITH RECURSIVE days AS (
    (SELECT {_DAY_OF_HOUR} AS day FROM acceptance AS a ORDER BY a.hour LIMIT 1)
    UNION ALL
    SELECT (
        SELECT {_DAY_OF_HOUR} FROM acceptance AS a
        WHERE a.hour >= cast(d.day + 1 AS timestamp) AT TIME ZONE 'UTC' ORDER BY a.hour LIMIT 1
    ) FROM days AS d WHERE d.day IS NOT NULL
)
SELECT day FROM days AS d
WHERE day < cast(cast(:today AS timestamptz) AT TIME ZONE 'UTC' AS date)
    AND NOT EXISTS (SELECT FROM report_days AS r WHERE r.done AND r.day = d.day)
ORDER BY day DESC
""")
_IN_DAY = "{0} >= cast(:start AS timestamptz) AND {0} < cast(:stop AS timestamptz)"
_OPEN = text(f"""
SELECT coalesce(sum(decided - accepted_closed - rejected_closed - ignored - unobserved), 0) > 0
FROM acceptance WHERE {_IN_DAY.format("hour")} AND policy <> '{HISTORY}'
""")
# Whoever archives, or makes the hours anew, would not see the mark, and so could not take it away.
_WAIT_FOR_ARCHIVER = text("SELECT pg_advisory_xact_lock(:lock)")
# A rebuild may take an hour, and archivers wait for who waits for it: the day is tried again.
_NOT_FOR_LONG = text("SET LOCAL lock_timeout = '1s'")
_WAIT_FOR_REBUILD = text("LOCK TABLE acceptance IN ACCESS SHARE MODE")
_BEGIN = text("INSERT INTO report_days VALUES (:day) ON CONFLICT (day) DO UPDATE SET done = false")
_CLEAR = (
    text("DELETE FROM acceptance_days WHERE day = :day"),
    text("DELETE FROM calibration_days WHERE day = :day"),
)


def _add_up(into: str, of: str, where: str) -> str:
    return f"""
INSERT INTO {into} (day, placement, policy, offer_id, grp, {", ".join(_COUNTS)})
SELECT cast(:day AS date), placement, policy, offer_id, grp, {", ".join(f"sum({name})" for name in _COUNTS)}
FROM {of} WHERE {where} GROUP BY placement, policy, offer_id, grp
"""


_FILL = (
    text(_add_up("acceptance_days", "acceptance", _IN_DAY.format("hour"))),
    text(f"""
INSERT INTO calibration_days (day, placement, policy, offer_id, observed, accepted, predicted, squared, taken, others)
SELECT cast(:day AS date), placement, policy, offer_id, count(*), sum(accepted), sum(estimate),
    sum((estimate - accepted) ^ 2),
    coalesce(string_agg(float8send(estimate), cast('' AS bytea)) FILTER (WHERE accepted = 1), cast('' AS bytea)),
    coalesce(string_agg(float8send(estimate), cast('' AS bytea)) FILTER (WHERE accepted = 0), cast('' AS bytea))
FROM ({predictions(_IN_DAY.format("x.decided_at"))}) AS p GROUP BY placement, policy, offer_id
"""),
)
_READ_BY_HOUR = "is not rolled up, and reports read it by hour"
_READ_BY_DAY = "and those after it are not added up once more, and reports read them by day"
_END = text("UPDATE report_days SET done = true WHERE day = :day AND NOT done")

_SPAN = (
    "cast(date_trunc('month', day) AS date) + 8 * least((cast(extract(day FROM day) AS integer) - 1) / 8, 3)"
)
_SPANS_DUE = text(f"""
SELECT d.span FROM (
    SELECT {_SPAN} AS span, array_agg(day ORDER BY day) AS days FROM report_days WHERE done GROUP BY 1
) AS d LEFT JOIN report_spans AS r USING (span)
WHERE cardinality(d.days) > 1 AND r.days IS DISTINCT FROM d.days ORDER BY 1 DESC
""")
_IN_SPAN = "day >= :first AND day <= :last"
_CLEAR_SPAN = (
    text("DELETE FROM report_spans WHERE span = :first"),
    text(f"DELETE FROM acceptance_spans WHERE {_IN_SPAN}"),
)
# Whoever takes the mark of one of them away waits until that of the span can be seen. None is waited for here: they
# may take those of several days away, in any order.
_HOLD_DAYS = text(f"SELECT day FROM report_days WHERE done AND {_IN_SPAN} ORDER BY day FOR SHARE SKIP LOCKED")
_FILL_SPAN = text(_add_up("acceptance_spans", "acceptance_days", "day = ANY(cast(:days AS date[]))"))
_MARK_SPAN = text("INSERT INTO report_spans VALUES (:first, cast(:days AS date[]))")

# Rows are deleted, not truncated: a report that has read the marks before goes on to see what they are of.
REBUILD_REPORT_DAYS = tuple(
    f"DELETE FROM {name}"
    for name in ("report_days", "report_spans", "acceptance_days", "calibration_days", "acceptance_spans")
)
"""Workers roll up anew what hours and the log tell."""


class DaysOfReports:
    """Rolls days up. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def roll_up(self, now: datetime) -> int:
        """Roll up all days before today (UTC) whose reward windows are closed; return how many were."""
        today = now.astimezone(UTC).date()

        async def roll_up_day(day: date) -> bool:
            return await self._roll_up_day(day, today)

        done = await roll_up_each(self._engine, REPORT_DAYS_LOCK, _DUE, today, roll_up_day, _READ_BY_HOUR)
        await roll_up_each(
            self._engine, REPORT_DAYS_LOCK, _SPANS_DUE, today, self._roll_up_span, _READ_BY_DAY
        )
        return done

    async def _roll_up_day(self, day: date, today: date) -> bool:
        values = {"day": day}
        span = {"start": start_of(day), "stop": start_of(day + DAY)}
        if day >= today - SURELY_CLOSED:
            async with transaction(self._engine) as connection:
                if await connection.scalar(_OPEN, span):
                    return False
        async with transaction(self._engine) as connection:
            await connection.execute(_WAIT_FOR_ARCHIVER, {"lock": ARCHIVER_LOCK})
            await connection.execute(_NOT_FOR_LONG)
            await connection.execute(_WAIT_FOR_REBUILD)
            await connection.execute(_BEGIN, values)
            for statement in _CLEAR:
                await connection.execute(statement, values)
        async with transaction(self._engine) as connection:
            for statement in _FILL:
                await connection.execute(statement, values | span)
            done = (await connection.execute(_END, values)).rowcount == 1
            if not done:  # something of the day changed meanwhile
                for statement in _CLEAR:
                    await connection.execute(statement, values)
        return done

    async def _roll_up_span(self, first: date) -> bool:
        span = {"first": first, "last": _last_of_span(first)}
        async with transaction(self._engine) as connection:
            for statement in _CLEAR_SPAN:
                await connection.execute(statement, span)
            days = (await connection.scalars(_HOLD_DAYS, span)).all()
            if len(days) < 2:  # others of them change just now
                return False
            await connection.execute(_FILL_SPAN, {"day": days[0], "days": days})
            await connection.execute(_MARK_SPAN, {"first": first, "days": days})
        return True


def _last_of_span(first: date) -> date:
    if first.day < 25:
        return first + 7 * DAY
    return (first + 7 * DAY).replace(day=1) - DAY
