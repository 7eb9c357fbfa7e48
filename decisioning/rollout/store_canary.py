"""What guardrails have counted of canaries: one test for each stage of a canary, moved with its counts."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bandits.policy import PolicyKey
from decisioning.catalog.kinds import CLASSES
from decisioning.log.store_sql import DECIDER_OF, GROUP_OF
from decisioning.model.deciders import CALLER
from decisioning.model.deployment import Canary, Deployment
from decisioning.model.entities import Placement
from decisioning.rollout.guardrail import IN_A_ROW, WARM_MS, Tally, Verdict, evidence, failure_kind
from decisioning.rollout.results import Result, known_in_order
from decisioning.rollout.store_results import Place, made_in_order, moment
from storage.locks import GUARD_LOCK
from storage.postgres import transaction

PAGE = 500
USUAL = Placement("", "").policy
"""The policy of placements that name none."""
AT_ONCE = timedelta(hours=1)
"""Of decisions, in one statement that looks for failures."""

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
        CASE WHEN (d.header -> 'over_budget' ->> 'in_a_row')::integer >= {IN_A_ROW} THEN 'over_budget' END
    ) AS reason,
    d.decided_at < cast(:warm AS timestamptz) AS warming, count(*) AS decisions
FROM decisions AS d
WHERE d.placement = :placement AND d.decided_at > cast(:from AS timestamptz)
    AND d.decided_at <= cast(:to AS timestamptz) AND d.header ->> 'source' = 'live'
    AND ({GROUP_OF}, {DECIDER_OF}) IN (('canary', :policy), (:others, :champion))
GROUP BY 1, 2, 3
""")

_NEW_CUSTOMERS = text(
    "INSERT INTO canary_customers SELECT :test, unnest(cast(:customers AS text[]))"
    " ON CONFLICT DO NOTHING RETURNING customer_id"
)
_COUNTED = text("""
UPDATE canary_tests SET seen_at = :seen_at, seen_id = :seen_id, failures_at = :failures_at, looked_at = now(),
    observations = :n, acceptances = :s, decisions = :d, failures = :f, slow = :w,
    champion_observations = :cn, champion_acceptances = :cs, champion_decisions = :cd, champion_failures = :cf,
    champion_slow = :cw
WHERE test_id = :test
""")


@dataclass(frozen=True, slots=True)
class Running:
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
        """What must stay as it is for counts to be added up."""
        canary = self.canary
        return (
            canary.policy,
            self.champion,
            canary.share,
            self.deployment.guardrails.horizon_s,
            canary.since_ms,
        )


@dataclass(slots=True)
class CanaryTest:
    """A stage of a canary, as far as it has been counted. ``carried``: log e of its earlier stages."""

    test_id: int
    placement: str
    policy: str
    champion: str
    share: float
    horizon_s: int
    since_ms: int
    started_at: datetime
    carried: float
    seen: Place
    failures_at: datetime
    canary: Tally
    others: Tally
    looked_at: datetime
    ended_at: datetime | None
    cause: str | None
    reason: str | None

    @property
    def stage(self) -> tuple[Any, ...]:
        """As ``Running.stage``."""
        return (self.policy, self.champion, self.share, self.horizon_s, self.since_ms)

    @property
    def groups(self) -> dict[tuple[str, str], bool]:
        """Group and policy of the decisions that are compared: whether they are the canary's."""
        return {("canary", self.policy): True, (self.others_group, self.champion): False}

    @property
    def others_group(self) -> str:
        """The group of those who do not get the canary."""
        return "caller" if self.champion == CALLER else "champion"


class CanaryStore:
    """Reads canaries and their tests. All methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def running(self) -> list[Running]:
        """The placements that have a canary, from the newest catalogue."""
        async with transaction(self._engine) as connection:
            return [_running(row) for row in await connection.execute(_DEPLOYMENTS)]

    async def tests(self, placement: str | None = None, limit: int = 50) -> list[CanaryTest]:
        """Tests, the newest first."""
        where = "" if placement is None else "WHERE placement = :placement"
        query = text(f"SELECT * FROM canary_tests {where} ORDER BY test_id DESC LIMIT :limit")
        values: dict[str, Any] = {"limit": limit} | ({} if placement is None else {"placement": placement})
        async with transaction(self._engine) as connection:
            return [_test(row) for row in await connection.execute(query, values)]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["CanaryTurn | None"]:
        """The right to count, of which there is one; ``None`` if somebody else has it. Kept at the end, all or none."""
        async with transaction(self._engine) as connection:
            mine = await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:l)"), {"l": GUARD_LOCK})
            yield CanaryTurn(connection) if mine else None

    async def end_others(self, placements: Collection[str]) -> None:
        """End the tests of placements that have no canary any more. ``placements``: those that have."""
        async with transaction(self._engine) as connection:
            query = text(
                "SELECT test_id FROM canary_tests WHERE ended_at IS NULL AND placement <> ALL(:placements)"
            )
            rows = await connection.execute(query, {"placements": list(placements)})
            await _end(
                connection, [row.test_id for row in rows], "changed", "the canary was changed or taken back"
            )


class CanaryTurn:
    """Counting, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def test_of(self, running: Running) -> CanaryTest:
        """The test of a canary as it is now. A new stage gets a new one, which takes over the evidence so far."""
        query = text(
            "SELECT * FROM canary_tests WHERE placement = :placement AND ended_at IS NULL FOR UPDATE"
        )
        row = (await self._connection.execute(query, {"placement": running.placement})).first()
        known = None if row is None else _test(row)
        if known is None:
            return await self._new(running, 0.0)
        if known.stage == running.stage:
            return known
        await _end(self._connection, [known.test_id], "changed", "the canary's stage was changed")
        same = (known.policy, known.champion, known.since_ms) == (
            running.canary.policy,
            running.champion,
            running.canary.since_ms,
        )
        guardrails = running.deployment.guardrails
        carried = known.carried + evidence(known.canary, known.others, guardrails).log_e if same else 0.0
        return await self._new(running, carried)

    async def count(self, test: CanaryTest, until_ms: int) -> bool:
        """Count decisions up to ``until_ms`` into ``test``; whether there are more than could be counted at once."""
        made = await made_in_order(self._connection, test.placement, test.seen, until_ms, PAGE)
        results = known_in_order(made, test.horizon_s * 1000, until_ms)
        if results:
            test.seen = Place.behind(results[-1].made)
            await self._count_results(test, results)
        await self._count_failures(test, moment(until_ms))
        await self._keep(test)
        return len(results) == PAGE or test.failures_at < moment(until_ms)

    async def _count_results(self, test: CanaryTest, results: Sequence[Result]) -> None:
        first: dict[str, Result] = {}
        for result in results:
            if result.counts and (result.made.group, result.made.decider) in test.groups:
                first.setdefault(result.made.customer_id, result)
        if not first:
            return
        values = {"test": test.test_id, "customers": list(first)}
        for row in await self._connection.execute(_NEW_CUSTOMERS, values):
            result = first[row.customer_id]
            if test.groups[result.made.group, result.made.decider]:
                test.canary = test.canary.observed(result.success)
            else:
                test.others = test.others.observed(result.success)

    async def _count_failures(self, test: CanaryTest, until: datetime) -> None:
        to = min(until, test.failures_at + AT_ONCE)
        if to <= test.failures_at:
            return
        values = {
            **{"placement": test.placement, "from": test.failures_at, "to": to},
            **{"warm": test.started_at + timedelta(milliseconds=WARM_MS)},
            **{"policy": test.policy, "others": test.others_group, "champion": test.champion},
        }
        for row in await self._connection.execute(_FAILURES, values):
            kind = failure_kind(row.reason or "", warming=row.warming)
            if row.grp == "canary":
                test.canary = test.canary.decided(row.decisions, kind)
            else:
                test.others = test.others.decided(row.decisions, kind)
        test.failures_at = to

    async def _new(self, running: Running, carried: float) -> CanaryTest:
        values: dict[str, Any] = {"placement": running.placement, "policy": running.canary.policy}
        values |= {"since_ms": running.canary.since_ms}
        query = text(
            "SELECT 1 FROM canary_tests WHERE placement = :placement AND policy = :policy AND since_ms = :since_ms"
        )
        later = (await self._connection.execute(query, values)).first() is not None
        started_at = running.changed_at if later else moment(running.canary.since_ms)
        query = text(
            "INSERT INTO canary_tests (placement, policy, champion, share, horizon_s, since_ms, carried, started_at,"
            " seen_at, failures_at) VALUES (:placement, :policy, :champion, :share, :horizon_s, :since_ms, :carried,"
            " :started_at, :started_at, :started_at) RETURNING *"
        )
        values |= {"champion": running.champion, "share": running.canary.share, "carried": carried}
        values |= {"horizon_s": running.deployment.guardrails.horizon_s, "started_at": started_at}
        return _test((await self._connection.execute(query, values)).one())

    async def _keep(self, test: CanaryTest) -> None:
        canary, others = test.canary, test.others
        await self._connection.execute(
            _COUNTED,
            {
                **{"test": test.test_id, "seen_at": test.seen.at, "seen_id": test.seen.decision_id},
                **{"failures_at": test.failures_at, "n": canary.observations, "s": canary.acceptances},
                **{"d": canary.decisions, "f": canary.failures, "w": canary.slow},
                **{"cn": others.observations, "cs": others.acceptances},
                **{"cd": others.decisions, "cf": others.failures, "cw": others.slow},
            },
        )


async def note_verdict(connection: AsyncConnection, test_id: int, verdict: Verdict) -> None:
    """End a test with the reason of its rollback, in the transaction that publishes it.

    A guard with an older list of canaries may have ended it as changed: the verdict is what is true then.
    """
    await _end(connection, [test_id], verdict.cause, verdict.reason, over="changed")


async def _end(
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


def _running(row: Row[Any]) -> Running:
    deployment: Deployment = CLASSES["deployment"].validate_python({**row.body, "placement_id": row.id})
    assert deployment.canary is not None
    champion = deployment.champion or PolicyKey.of(row.usual or USUAL, 1)
    return Running(
        deployment,
        deployment.canary,
        CALLER if deployment.apprentice else champion,
        row.version,
        row.changed_at,
    )


def _test(row: Row[Any]) -> CanaryTest:
    return CanaryTest(
        **{
            name: getattr(row, name)
            for name in ("test_id", "placement", "policy", "champion", "share", "horizon_s", "since_ms")
        },
        started_at=row.started_at,
        carried=row.carried,
        seen=Place(row.seen_at, row.seen_id),
        failures_at=row.failures_at,
        canary=Tally(row.observations, row.acceptances, row.decisions, row.failures, row.slow),
        others=Tally(
            *(row.champion_observations, row.champion_acceptances),
            *(row.champion_decisions, row.champion_failures, row.champion_slow),
        ),
        looked_at=row.looked_at,
        ended_at=row.ended_at,
        cause=row.cause,
        reason=row.reason,
    )
