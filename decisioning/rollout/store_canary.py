"""Counts of canaries in Postgres: one test for each stage of a canary, whose position moves with its counts."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.catalog.kinds import DEPLOYMENT
from decisioning.errors import NotFound
from decisioning.log.store_sql import DECIDER_OF, GROUP_OF
from decisioning.model.deciders import CALLER, HISTORY
from decisioning.model.deployment import Canary, Deployment
from decisioning.model.entities import Placement
from decisioning.rollout.guardrail import (
    MIN_SLOW_IN_A_ROW,
    WARM_UP_MS,
    GroupCounts,
    RollbackVerdict,
    classify_failure,
    evidence,
)
from decisioning.rollout.results import Result, results_in_order
from decisioning.rollout.store_results import LogPlace, decisions_in_order
from storage.clock import to_datetime
from storage.locks import GUARD_LOCK
from storage.postgres import transaction, where

PAGE_SIZE = 500
DEFAULT_POLICY = Placement("", "").policy
"""The policy of placements that name none."""
FAILURES_SPAN = timedelta(hours=1)
"""Decisions of this time are searched for failures in one statement."""

_DEPLOYMENTS = text("""
SELECT *, (
    SELECT p.body ->> 'policy' FROM catalog_entries AS p WHERE p.kind = 'placement' AND p.id = newest.id
    ORDER BY p.version DESC LIMIT 1
) AS usual FROM (
    SELECT DISTINCT ON (id) id, version, body, changed_at FROM catalog_entries WHERE kind = 'deployment'
    ORDER BY id, version DESC
) AS newest WHERE jsonb_typeof(body -> 'canary') = 'object' ORDER BY id
""").columns(body=JSONB)

_FAILURES = text(f"""
SELECT {GROUP_OF} AS grp, coalesce(
        d.header -> 'failed' ->> 'reason',
        CASE WHEN (d.header -> 'over_budget' ->> 'in_a_row')::integer >= {MIN_SLOW_IN_A_ROW} THEN 'over_budget' END
    ) AS reason,
    d.decided_at < cast(:warm AS timestamptz) AS warming, count(*) AS decisions
FROM decisions AS d
WHERE d.placement = :placement AND d.decided_at > cast(:from AS timestamptz)
    AND d.decided_at <= cast(:to AS timestamptz) AND d.header ->> 'source' = 'live'
    AND ({GROUP_OF}, {DECIDER_OF}) IN (('canary', :policy), (:others, :champion))
GROUP BY 1, 2, 3
""")

_TESTS = f"""
SELECT t.*, CASE WHEN t.ended_at IS NULL THEN (
    SELECT count(*) FROM decisions AS d
    WHERE d.placement = t.placement AND (d.decided_at, d.decision_id) > (t.seen_at, t.seen_id)
        AND d.policy <> '{HISTORY}'
        AND d.grp IN ('canary', CASE WHEN t.champion = '{CALLER}' THEN 'caller' ELSE 'champion' END)
) END AS open
FROM canary_tests AS t
"""

_NEW_CUSTOMERS = text(
    "INSERT INTO canary_customers SELECT :test, unnest(cast(:customers AS text[]))"
    " ON CONFLICT DO NOTHING RETURNING customer_id"
)
_COUNTS = tuple(f.name for f in fields(GroupCounts))
"""Columns of a test: the canary's counts by these names, those of the others with ``champion_`` before them."""
_COUNTED = text(f"""
UPDATE canary_tests SET seen_at = :seen_at, seen_id = :seen_id, failures_at = :failures_at, looked_at = now(),
    {", ".join(f"{name} = :{name}, champion_{name} = :champion_{name}" for name in _COUNTS)}
WHERE test_id = :test
""")


@dataclass(frozen=True, slots=True)
class RunningCanary:
    """A placement with a canary. ``version``, ``changed_at``: of its deployment's newest entry.

    ``champion``: what the canary is compared with; where an apprentice watches, the caller's own choice.
    """

    deployment: Deployment
    canary: Canary
    champion: str
    version: int
    changed_at: datetime

    @property
    def placement(self) -> str:
        """The placement's id."""
        return self.deployment.placement_id

    @property
    def stage(self) -> tuple[Any, ...]:
        """All that must stay as it is for counts to be added up."""
        canary, horizon_s = self.canary, self.deployment.guardrails.horizon_s
        return (canary.policy, self.champion, canary.share, horizon_s, canary.since_ms)


@dataclass(slots=True)
class CanaryTest:
    """A stage of a canary, as far as it has been counted. ``carried``: log e of its earlier stages.

    ``open``: while it runs, the decisions of both sides that are not counted yet, where that was asked for.
    """

    test_id: int
    placement: str
    policy: str
    champion: str
    share: float
    horizon_s: int
    since_ms: int
    started_at: datetime
    carried: float
    seen: LogPlace
    failures_at: datetime
    canary: GroupCounts
    others: GroupCounts
    looked_at: datetime
    ended_at: datetime | None
    cause: str | None
    reason: str | None
    open: int | None = None

    @property
    def stage(self) -> tuple[Any, ...]:
        """The same as ``RunningCanary.stage``, of the time when it was begun."""
        return (self.policy, self.champion, self.share, self.horizon_s, self.since_ms)

    @property
    def groups(self) -> frozenset[tuple[str, str]]:
        """Group and policy of the decisions that are compared."""
        return frozenset({("canary", self.policy), (self.others_group, self.champion)})

    @property
    def others_group(self) -> str:
        """The group of those who do not get the canary."""
        return "caller" if self.champion == CALLER else "champion"


class CanaryStore:
    """Reads canaries and their tests. All methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def running(self) -> list[RunningCanary]:
        """Read the placements that have a canary, from the newest catalogue."""
        async with transaction(self._engine) as connection:
            return [_canary_of_row(row) for row in await connection.execute(_DEPLOYMENTS)]

    async def tests(self, placement: str | None = None, limit: int = 50) -> list[CanaryTest]:
        """Read tests, the newest first."""
        condition, values = where({"placement =": placement})
        query = text(f"{_TESTS} {condition} ORDER BY test_id DESC LIMIT :limit")
        async with transaction(self._engine) as connection:
            return [_test_of_row(row) for row in await connection.execute(query, {**values, "limit": limit})]

    async def test(self, test_id: int) -> CanaryTest:
        """Read one test. Raises ``NotFound``."""
        async with transaction(self._engine) as connection:
            row = (
                await connection.execute(text(f"{_TESTS} WHERE test_id = :test"), {"test": test_id})
            ).first()
        if row is None:
            raise NotFound("test of a canary", str(test_id))
        return _test_of_row(row)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["CanaryTurn | None"]:
        """Hold the only right to count; ``None`` if somebody else has it. Counts are kept at its end, all or none."""
        async with transaction(self._engine) as connection:
            mine = await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:l)"), {"l": GUARD_LOCK})
            yield CanaryTurn(connection) if mine else None

    async def end_others(self, placements: Collection[str]) -> None:
        """End the tests of placements that have no canary any more. ``placements``: those that have."""
        async with transaction(self._engine) as connection:
            query = (
                "SELECT test_id FROM canary_tests WHERE ended_at IS NULL AND placement <> ALL(:placements)"
            )
            tests = (await connection.scalars(text(query), {"placements": list(placements)})).all()
            await _end_tests(connection, tests, "changed", "the canary was changed or taken back")


class CanaryTurn:
    """The right to count, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def current_test(self, running: RunningCanary) -> CanaryTest:
        """Find the test of a canary as it is now. A new stage gets a new one, which takes over the evidence so far."""
        query = text(
            "SELECT * FROM canary_tests WHERE placement = :placement AND ended_at IS NULL FOR UPDATE"
        )
        row = (await self._connection.execute(query, {"placement": running.placement})).first()
        known = None if row is None else _test_of_row(row)
        if known is None:
            return await self._begin(running, 0.0)
        if known.stage == running.stage:
            return known
        await _end_tests(self._connection, [known.test_id], "changed", "the canary's stage was changed")
        canary = running.canary
        # Evidence is of one canary against one champion; its share and horizon may change meanwhile.
        same = (known.policy, known.champion, known.since_ms) == (
            canary.policy,
            running.champion,
            canary.since_ms,
        )
        guardrails = running.deployment.guardrails
        carried = known.carried + evidence(known.canary, known.others, guardrails).log_e if same else 0.0
        return await self._begin(running, carried)

    async def count(self, test: CanaryTest, until_ms: int) -> bool:
        """Count decisions up to ``until_ms`` into ``test``. Returns whether there are more than one page."""
        made = await decisions_in_order(self._connection, test.placement, test.seen, until_ms, PAGE_SIZE)
        results = results_in_order(made, test.horizon_s * 1000, until_ms)
        if results:
            test.seen = LogPlace.behind(results[-1].made)
            await self._count_results(test, results)
        await self._count_failures(test, to_datetime(until_ms))
        await self._store(test)
        return len(results) == PAGE_SIZE or test.failures_at < to_datetime(until_ms)

    async def _count_results(self, test: CanaryTest, results: Sequence[Result]) -> None:
        first: dict[str, Result] = {}
        for result in results:
            # Of each customer the first decision counts: who comes back often must not count as many customers.
            if result.counts and (result.made.group, result.made.decider) in test.groups:
                first.setdefault(result.made.customer_id, result)
        if not first:
            return
        values = {"test": test.test_id, "customers": list(first)}
        for row in await self._connection.execute(_NEW_CUSTOMERS, values):
            result = first[row.customer_id]
            if result.made.group == "canary":
                test.canary = test.canary.add_customer(result.success)
            else:
                test.others = test.others.add_customer(result.success)

    async def _count_failures(self, test: CanaryTest, until: datetime) -> None:
        to = min(until, test.failures_at + FAILURES_SPAN)
        if to <= test.failures_at:
            return
        values = {
            "placement": test.placement,
            "from": test.failures_at,
            "to": to,
            "warm": test.started_at + timedelta(milliseconds=WARM_UP_MS),
            "policy": test.policy,
            "others": test.others_group,
            "champion": test.champion,
        }
        for row in await self._connection.execute(_FAILURES, values):
            kind = classify_failure(row.reason or "", warming=row.warming)
            if row.grp == "canary":
                test.canary = test.canary.add_decisions(row.decisions, kind)
            else:
                test.others = test.others.add_decisions(row.decisions, kind)
        test.failures_at = to

    async def _begin(self, running: RunningCanary, carried: float) -> CanaryTest:
        values: dict[str, Any] = {
            "placement": running.placement,
            "policy": running.canary.policy,
            "since_ms": running.canary.since_ms,
            "champion": running.champion,
            "share": running.canary.share,
            "horizon_s": running.deployment.guardrails.horizon_s,
            "carried": carried,
        }
        # A later stage of the same canary is counted from when the deployment was changed, a first one from its start.
        query = text(
            "SELECT 1 FROM canary_tests WHERE placement = :placement AND policy = :policy AND since_ms = :since_ms"
        )
        later = (await self._connection.execute(query, values)).first() is not None
        values["started_at"] = running.changed_at if later else to_datetime(running.canary.since_ms)
        query = text(
            "INSERT INTO canary_tests (placement, policy, champion, share, horizon_s, since_ms, carried, started_at,"
            " seen_at, failures_at) VALUES (:placement, :policy, :champion, :share, :horizon_s, :since_ms, :carried,"
            " :started_at, :started_at, :started_at) RETURNING *"
        )
        return _test_of_row((await self._connection.execute(query, values)).one())

    async def _store(self, test: CanaryTest) -> None:
        values = {
            "test": test.test_id,
            "seen_at": test.seen.at,
            "seen_id": test.seen.decision_id,
            "failures_at": test.failures_at,
            **asdict(test.canary),
            **{f"champion_{name}": count for name, count in asdict(test.others).items()},
        }
        await self._connection.execute(_COUNTED, values)


async def end_with_verdict(connection: AsyncConnection, test_id: int, verdict: RollbackVerdict) -> None:
    """End a test with the reason of its rollback, in the transaction that publishes it."""
    # A guard with an older list of canaries may have ended it as changed: the verdict is what is true then.
    await _end_tests(connection, [test_id], verdict.cause, verdict.reason, over="changed")


async def _end_tests(
    connection: AsyncConnection, tests: Sequence[int], cause: str, reason: str, *, over: str = ""
) -> None:
    """End tests, but for those that have ended; ``over``: a cause that gives way to this one."""
    if tests:
        query = text(
            "UPDATE canary_tests SET ended_at = now(), cause = :cause, reason = :reason"
            " WHERE test_id = ANY(:tests) AND (ended_at IS NULL OR cause = :over)"
        )
        values = {"tests": list(tests), "cause": cause, "reason": reason, "over": over}
        await connection.execute(query, values)
        await connection.execute(
            text("DELETE FROM canary_customers WHERE test_id = ANY(:tests)"), {"tests": list(tests)}
        )


def _canary_of_row(row: Row[Any]) -> RunningCanary:
    deployment = DEPLOYMENT.load(row.id, row.body)
    assert deployment.canary is not None
    champion = CALLER if deployment.apprentice else deployment.champion or f"{row.usual or DEFAULT_POLICY}@1"
    return RunningCanary(deployment, deployment.canary, champion, row.version, row.changed_at)


def _test_of_row(row: Row[Any]) -> CanaryTest:
    stored = row._mapping
    return CanaryTest(
        **{f.name: stored[f.name] for f in fields(CanaryTest) if f.name in stored},
        seen=LogPlace(row.seen_at, row.seen_id),
        canary=GroupCounts(**{name: stored[name] for name in _COUNTS}),
        others=GroupCounts(**{name: stored[f"champion_{name}"] for name in _COUNTS}),
    )
