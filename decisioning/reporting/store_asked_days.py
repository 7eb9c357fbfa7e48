"""Who asked on a day, held out from what, and what came of it: a roll-up by customer for reports on hold-outs.

A day is rolled up once all of its reward windows are closed, from the archived log alone. What is archived of a day
later takes its mark away (``INSERT_DECISIONS`` and ``INSERT_OUTCOMES`` do), and it is rolled up anew.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.log.store_sql import IS_CLOSED
from decisioning.model.deciders import FIRING_PREFIX, HISTORY
from decisioning.reporting.days.store_each_day import DAY, roll_up_each, start_of
from storage.locks import ARCHIVER_LOCK, ROLL_UP_LOCK
from storage.postgres import transaction

COLUMNS = "customer_id, held, version, first_at, offers, closed, acceptances, value"

# Workers of earlier versions archive without the columns. The record has all of it, but is far slower to read.
_VERSION = "coalesce(d.catalog_version, (d.header ->> 'catalog_version')::bigint)"
_HELD = (
    "CASE WHEN d.catalog_version IS NULL AND d.header ? 'holdouts'"
    " THEN ARRAY(SELECT jsonb_array_elements_text(d.header -> 'holdouts')) ELSE coalesce(d.holdouts, '{}') END"
)
_OFFERED = "coalesce(d.offered, jsonb_array_length(d.header -> 'numbers'))"


def asked_rows(of_decisions: str, of_outcomes: str) -> str:
    """Write the query of what each decision adds, as ``COLUMNS``.

    ``of_decisions``: a condition on ``d.decided_at``; ``of_outcomes``: the same one on ``x.decided_at``.
    ``first_at`` is null where a trigger asked: its firing counts instead (``fired_rows``), since where channels are
    compared, the decision is logged only if there is something to offer. A decision that was taken back counts as
    asked: of one without offers nobody can tell whether it was. As the report on offers counts, an answer in time
    counts when its window is closed.
    """
    return f"""
SELECT d.customer_id, {_HELD} AS held, {_VERSION} AS version,
    CASE WHEN NOT starts_with(d.decision_id, '{FIRING_PREFIX}') THEN d.decided_at END AS first_at,
    {_OFFERED} AS offers, coalesce(t.closed, 0) AS closed, cast(coalesce(t.accepted, 0) AS float) AS acceptances,
    coalesce(t.value, 0) AS value
FROM decisions AS d LEFT JOIN (
    SELECT decision_id, decided_at, count(*) AS closed, count(*) FILTER (WHERE accepted) AS accepted,
        sum(value) AS value
    FROM (
        SELECT x.decision_id, x.decided_at, bool_or(x.outcome = 'closed' AND x.reward = 1) AS accepted,
            coalesce(sum(x.value) FILTER (WHERE x.outcome = 'accepted' AND NOT x.late), 0) AS value
        FROM outcomes AS x
        WHERE {of_outcomes} AND x.outcome IN ('closed', 'expired', 'withdrawn', 'accepted')
        GROUP BY x.decision_id, x.decided_at, x.offer_id
        HAVING bool_or(x.outcome IN ('closed', 'expired', 'withdrawn'))
    ) AS o GROUP BY 1, 2
) AS t USING (decision_id, decided_at)
WHERE {of_decisions} AND d.policy <> '{HISTORY}'
"""


def fired_rows() -> str:
    """Write the query of firings in a span (``:start``, ``:stop``), as ``COLUMNS``: when, and held out from what.

    They are not rolled up: there is one row for each, and it is small.
    """
    return """
SELECT customer_id, held, version, fired_at AS first_at, 0 AS offers, 0 AS closed, cast(0 AS float) AS acceptances,
    cast(0 AS float) AS value
FROM fired_customers WHERE fired_at >= cast(:start AS timestamptz) AND fired_at < cast(:stop AS timestamptz)
"""


_DUE = text("""
SELECT DISTINCT cast(a.hour AT TIME ZONE 'UTC' AS date) AS day FROM acceptance AS a
WHERE a.hour >= (SELECT min(changed_at) FROM catalog_entries WHERE kind = 'holdout') AND a.hour < :today
    AND NOT EXISTS (
        SELECT FROM rolled_up_days AS r WHERE r.done AND r.day = cast(a.hour AT TIME ZONE 'UTC' AS date))
ORDER BY 1
""")
_IN_DAY = "{0}.decided_at >= :start AND {0}.decided_at < :stop"
_OPEN = text(
    f"SELECT EXISTS (SELECT FROM decisions AS d WHERE {_IN_DAY.format('d')} AND NOT {IS_CLOSED}) AS is_open"
)
_BEGIN = text("INSERT INTO rolled_up_days VALUES (:day) ON CONFLICT (day) DO UPDATE SET done = false")
# All lock the table of marks before that of rows.
_HOLD_MARKS = text("LOCK TABLE rolled_up_days IN ROW EXCLUSIVE MODE")
_CLEAR = text("DELETE FROM asked_days WHERE day = :day")
# Of versions of the catalogue only those matter that changed a hold-out.
_FILL = text(f"""
INSERT INTO asked_days (day, {COLUMNS})
SELECT cast(:day AS date), a.customer_id, a.held, coalesce(v.versions[width_bucket(a.version, v.versions)], 0) AS since,
    min(a.first_at), sum(a.offers), sum(a.closed), sum(a.acceptances), sum(a.value)
FROM ({asked_rows(_IN_DAY.format("d"), _IN_DAY.format("x"))}) AS a,
    (SELECT array_agg(version ORDER BY version) AS versions FROM catalog_entries WHERE kind = 'holdout') AS v
GROUP BY a.customer_id, a.held, since
""")
_END = text("UPDATE rolled_up_days SET done = true WHERE day = :day AND NOT done")
_DONE = text("SELECT day FROM rolled_up_days WHERE done AND day >= :first AND day <= :last ORDER BY day")

# In this order: whoever has read the marks is waited for, as a truncated table is empty to those who began before, too.
REBUILD_ASKED_DAYS = ("TRUNCATE rolled_up_days, asked_days",)
"""Workers roll up anew what the log tells."""


class AskedDays:
    """Rolls days up, those since the first hold-out was declared. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def roll_up(self, now: datetime) -> int:
        """Roll up all days before today (UTC) whose reward windows are closed; return how many were."""
        today = now.astimezone(UTC).date()
        if_not = "is not rolled up, and reports read it from the log"
        return await roll_up_each(self._engine, ROLL_UP_LOCK, _DUE, today, self._roll_up_day, if_not)

    async def _roll_up_day(self, day: date) -> bool:
        values = {"day": day, "start": start_of(day), "stop": start_of(day + DAY)}
        async with transaction(self._engine) as connection:
            if await connection.scalar(_OPEN, values):
                return False
        async with transaction(self._engine) as connection:
            # Whoever archives or erases now would not see the mark, and so could not take it away.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ARCHIVER_LOCK})
            await connection.execute(_BEGIN, values)
            # Here, as an erasure has the mark when it comes to these rows, and below the mark is waited for.
            await connection.execute(_CLEAR, values)
        async with transaction(self._engine) as connection:
            await connection.execute(_HOLD_MARKS)
            await connection.execute(_FILL, values)
            done = (await connection.execute(_END, values)).rowcount == 1
            if not done:  # something of the day was archived or erased meanwhile
                await connection.execute(_CLEAR, values)
        return done


async def find_rolled_up(connection: AsyncConnection, start: datetime, stop: datetime) -> list[date]:
    """List the days that are rolled up and lie between two times as a whole, in their order."""
    first, last = (at.astimezone(UTC) for at in (start, stop))
    found = await connection.scalars(_DONE, {"first": first.date(), "last": last.date()})
    return [day for day in found if start <= start_of(day) and start_of(day + DAY) <= stop]


def between_days(start: datetime, stop: datetime, days: Sequence[date]) -> list[tuple[datetime, datetime]]:
    """Return the times from ``start`` to before ``stop`` that are not in ``days``, as ``(from, to before)``."""
    bounds = [start, *(bound for day in days for bound in (start_of(day), start_of(day + DAY))), stop]
    return [(low, high) for low, high in zip(bounds[::2], bounds[1::2], strict=True) if low < high]
