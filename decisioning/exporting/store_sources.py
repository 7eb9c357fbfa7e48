"""Rows to export, read from Postgres and Redis in the order of their keys, a batch after the other."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bandits.errors import BanditsError
from bandits.sequential_policy import is_sequential
from bandits.state import decode_state
from bandits.sums import total_of
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.replay_service import LoggedContexts
from decisioning.exporting.decision_rows import fact_rows, offer_rows, outcome_row
from decisioning.exporting.export_service import Batch, Day, Row, Source, start_of
from decisioning.exporting.schema import ExportKind
from decisioning.learning.store_arms import ArmStore
from decisioning.log.store_sql import IN_LOG_ORDER, IS_CLOSED, decision_of_row, outcome_of_row
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Outcome
from decisioning.policies.roster import Roster
from storage.clock import to_datetime, to_ms
from storage.postgres import transaction

BATCH_SIZE = 1000

# The roll-up has every hour in which something was offered: much less to read than the log.
_LOG_DAYS = """
SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date AS day FROM acceptance
WHERE hour >= coalesce(:since, '-infinity'::timestamptz) AND hour < coalesce(:until, 'infinity'::timestamptz)
ORDER BY 1
"""
_CUSTOMER_DAYS = """
SELECT DISTINCT (updated_at AT TIME ZONE 'UTC')::date AS day FROM customers
WHERE updated_at >= coalesce(:since, '-infinity'::timestamptz)
    AND updated_at < coalesce(:until, 'infinity'::timestamptz)
ORDER BY 1
"""
_OPEN = f"""
SELECT count(*) FROM decisions AS d WHERE d.decided_at >= :start AND d.decided_at < :end AND NOT {IS_CLOSED}
"""
_DECISIONS = """
SELECT d.bucket, d.position, d.header::text AS header, d.candidates, d.priors, d.factors, d.decided_at, d.decision_id
FROM decisions AS d
WHERE d.decided_at >= :start AND d.decided_at < :end AND (d.decided_at, d.decision_id) > (:at, :id)
ORDER BY d.decided_at, d.decision_id
"""
_OUTCOMES_OF = f"""
SELECT * FROM outcomes
WHERE decision_id = ANY(:ids) AND decided_at >= :start AND decided_at < :end ORDER BY {IN_LOG_ORDER}
"""
_OUTCOMES = """
SELECT * FROM outcomes
WHERE decided_at >= :start AND decided_at < :end
    AND (decided_at, decision_id, offer_id, outcome) > (:at, :id, :offer, :outcome)
ORDER BY decided_at, decision_id, offer_id, outcome
"""
_CUSTOMERS = """
SELECT c.customer_id, c.updated_at, c.attributes::text, c.indicators::text, c.holdings, c.interests::text,
    consents_at(c.consents, c.consent_ends, now())::text AS consents, p.scores::text AS propensities,
    c.household_id
FROM customers AS c LEFT JOIN propensities AS p USING (customer_id)
WHERE c.updated_at >= :start AND c.updated_at < :end AND (c.updated_at, c.customer_id) > (:at, :id)
ORDER BY c.updated_at, c.customer_id
"""


def _bounds(day: Day) -> dict[str, datetime]:
    start = start_of(day)
    return {"start": start, "end": start + timedelta(days=1)}


class _PostgresSource:
    """The common part of the kinds in Postgres. All methods raise ``PostgresUnavailable``."""

    days_query = _LOG_DAYS
    settles = True

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def days(self, since: Day | None, until: Day | None) -> list[Day]:
        """See ``Source``."""
        values = {
            "since": None if since is None else start_of(since),
            "until": None if until is None else start_of(until),
        }
        async with transaction(self._engine) as connection:
            return list(await connection.scalars(text(self.days_query), values))

    async def still_open(self, day: Day) -> int:
        """See ``Source``."""
        async with transaction(self._engine) as connection:
            return int(await connection.scalar(text(_OPEN), _bounds(day)) or 0)


async def _stream(
    connection: AsyncConnection, query: str, values: Mapping[str, Any]
) -> AsyncIterator[list[Any]]:
    """Read the rows of a query with a cursor of the server, in batches."""
    stream = await connection.stream(text(query), values, execution_options={"yield_per": BATCH_SIZE})
    async for rows in stream.partitions(BATCH_SIZE):
        yield list(rows)


class DecisionSource(_PostgresSource):
    """Rows of ``decisions``: one for each offer of each decision."""

    async def batches(self, day: Day, after: list[str] | None) -> AsyncIterator[Batch]:
        """See ``Source``. Keys are the time of the decision and its id."""
        contexts = LoggedContexts(CatalogueStore(self._engine))
        async with transaction(self._engine) as connection:
            names = await _offer_names(connection)
            async for rows in _stream(connection, _DECISIONS, _bounds(day) | _key(day, after)):
                told = await self._outcomes(day, [row.decision_id for row in rows])
                made: list[Row] = []
                for row in rows:
                    made += await self._rows(decision_of_row(row), told, names, contexts)
                yield Batch(made, [rows[-1].decided_at.isoformat(), rows[-1].decision_id])

    async def _rows(
        self,
        logged: LoggedDecision,
        told: Mapping[tuple[str, int], list[Outcome]],
        names: Mapping[int, str],
        contexts: LoggedContexts,
    ) -> list[dict[str, Any]]:
        context = await contexts.of(logged)
        own = told.get((logged.decision_id, logged.decision.decided_at_ms), [])
        return offer_rows(logged, own, names, context)

    async def _outcomes(self, day: Day, ids: list[str]) -> Mapping[tuple[str, int], list[Outcome]]:
        """Read all outcomes of decisions of a day."""
        found: defaultdict[tuple[str, int], list[Outcome]] = defaultdict(list)
        async with transaction(self._engine) as connection:
            for row in await connection.execute(text(_OUTCOMES_OF), _bounds(day) | {"ids": ids}):
                outcome = outcome_of_row(row)
                found[outcome.decision_id, outcome.decided_at_ms].append(outcome)
        return found


class FactSource(_PostgresSource):
    """Rows of ``features``: one for each fact that was logged with a decision."""

    async def batches(self, day: Day, after: list[str] | None) -> AsyncIterator[Batch]:
        """See ``Source``. Keys are the time of the decision and its id."""
        async with transaction(self._engine) as connection:
            async for rows in _stream(connection, _DECISIONS, _bounds(day) | _key(day, after)):
                made = [fact for row in rows for fact in fact_rows(decision_of_row(row))]
                yield Batch(made, [rows[-1].decided_at.isoformat(), rows[-1].decision_id])

    async def still_open(self, day: Day) -> int:
        """Return 0: facts do not change once they are logged."""
        return 0


class OutcomeSource(_PostgresSource):
    """Rows of ``outcomes``, by the day of their decision."""

    async def batches(self, day: Day, after: list[str] | None) -> AsyncIterator[Batch]:
        """See ``Source``. Keys are the time of the decision, its id, the offer and the outcome."""
        offer, outcome = ("", "") if after is None else after[2:]
        values = _bounds(day) | _key(day, after) | {"offer": offer, "outcome": outcome}
        async with transaction(self._engine) as connection:
            async for rows in _stream(connection, _OUTCOMES, values):
                last = rows[-1]
                yield Batch(
                    [outcome_row(outcome_of_row(row)) for row in rows],
                    [last.decided_at.isoformat(), last.decision_id, last.offer_id, last.outcome],
                )


class CustomerSource(_PostgresSource):
    """Rows of ``customers``, by the day of their last change."""

    days_query = _CUSTOMER_DAYS
    settles = False  # a customer who changes leaves the day

    async def batches(self, day: Day, after: list[str] | None) -> AsyncIterator[Batch]:
        """See ``Source``. Keys are the time of the last change and the customer's id."""
        async with transaction(self._engine) as connection:
            async for rows in _stream(connection, _CUSTOMERS, _bounds(day) | _key(day, after)):
                made = [dict(row._mapping) | {"updated_at": to_ms(row.updated_at)} for row in rows]
                yield Batch(made, [rows[-1].updated_at.isoformat(), rows[-1].customer_id])

    async def still_open(self, day: Day) -> int:
        """Return 0: customers have no reward windows."""
        return 0


class ArmSource:
    """Rows of ``arms``: of all policies whose arms are in Redis, as they are now."""

    settles = False

    def __init__(self, engine: AsyncEngine, arms: ArmStore, roster: Roster, now_ms: int) -> None:
        self._engine, self._arms, self._roster, self._now_ms = engine, arms, roster, now_ms

    async def days(self, since: Day | None, until: Day | None) -> list[Day]:
        """Return today."""
        return [to_datetime(self._now_ms).date()]

    async def still_open(self, day: Day) -> int:
        """Return 0: arms have no reward windows."""
        return 0

    async def batches(self, day: Day, after: list[str] | None) -> AsyncIterator[Batch]:
        """See ``Source``. Keys are policies. Raises also ``RedisUnavailable``."""
        async with transaction(self._engine) as connection:
            names = await _offer_names(connection)
        for key in sorted(self._roster):
            if after is not None and key <= after[0]:
                continue
            policy = self._roster[key]
            found = None if is_sequential(policy) else await self._arms.load(key)
            if found is None:
                continue
            rows: list[Row] = []
            for arm, blob in sorted(found.fields.items()):
                try:
                    state = total_of(decode_state(blob, policy.width))
                except BanditsError:  # a field of a version that keeps them in another way
                    continue
                rows.append(
                    {
                        "policy": key,
                        "epoch": found.epoch,
                        "exported_at": self._now_ms,
                        "arm": arm,
                        "offer_id": names.get(_offer_of(arm)),
                        "state": state.tolist(),
                    }
                )
            yield Batch(rows, [key])


def source_of(kind: ExportKind, engine: AsyncEngine, arms: ArmStore, roster: Roster, now_ms: int) -> Source:
    """Return the source of a kind."""
    if kind == "arms":
        return ArmSource(engine, arms, roster, now_ms)
    sources: dict[str, type[Any]] = {
        "decisions": DecisionSource,
        "features": FactSource,
        "outcomes": OutcomeSource,
        "customers": CustomerSource,
    }
    found: Source = sources[kind](engine)
    return found


def _key(day: Day, after: list[str] | None) -> dict[str, Any]:
    """Return the first two parts of the key to go on after."""
    if after is None:
        return {"at": start_of(day), "id": ""}
    return {"at": datetime.fromisoformat(after[0]), "id": after[1]}


def _offer_of(arm: str) -> int:
    number, _, _ = arm.partition(":")
    return int(number) if number.lstrip("-").isdigit() else -1


async def _offer_names(connection: AsyncConnection) -> dict[int, str]:
    rows = await connection.execute(text("SELECT offer_no, offer_id FROM offers"))
    return {row.offer_no: row.offer_id for row in rows}
