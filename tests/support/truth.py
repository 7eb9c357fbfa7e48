"""Checks of what the stores must hold: arms and roll-ups against folds made here, from the rows in Postgres."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import text

from bandits.state import ArmTable
from decisioning.learning.fold import fold_outcomes
from decisioning.learning.store_arms import Arms, ArmStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from storage.keys import Keys
from storage.postgres import make_engine
from storage.redis import make_redis
from tests.support.installation import Installation
from tests.support.waiting import DEADLINE_S, eventually

T = TypeVar("T")
POLICY = "thompson@1"
COUNTS = (
    "decided",
    "presented",
    "clicked",
    "accepted",
    "rejected",
    "ignored",
    "unobserved",
    "late",
    "value",
    "accepted_closed",
    "rejected_closed",
    "presented_closed",
    "clicked_closed",
    "value_closed",
    "value_squares_closed",
    "squared_closed",
)


class Stores:
    """Direct access to what an installation has stored."""

    def __init__(self, installation: Installation, redis: Any, engine: Any) -> None:
        keys = Keys(installation.settings.buckets)
        self.keys = keys
        self.redis = redis
        self.engine = engine
        self.arms = ArmStore(redis, keys)
        self.reader = LogReader(redis, keys)
        self.archive = ArchiveReader(engine)
        self.reached: object = None

    async def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query."""
        async with self.engine.connect() as connection:
            return list(await connection.execute(text(query), values))

    async def caught_up(self, policy: str = POLICY) -> bool:
        """True if everything in the streams is folded for a policy, and archived, folds included."""
        ends = await self.reader.last_positions()
        folded = await self.arms.load_positions(policy)
        archived = await self.archive.positions()
        self.reached = folded, archived
        if any(
            done.get(bucket, StreamPosition.START) < end
            for done in (folded, archived)
            for bucket, end in ends.items()
        ):
            return False
        return await self.archive.last_fold(policy) == await self.arms.load_epoch(policy)

    async def outcomes(self) -> list[Outcome]:
        """All archived outcomes that teach."""
        return [outcome async for part in self.archive.observations() for outcome in part]


@asynccontextmanager
async def stores(installation: Installation) -> AsyncIterator[Stores]:
    """Connections of our own."""
    redis = make_redis(installation.redis_url)
    engine = make_engine(installation.postgres_url, pool_size=2)
    try:
        yield Stores(installation, redis, engine)
    finally:
        await redis.aclose()
        await engine.dispose()


def look(installation: Installation, work: Callable[[Stores], Coroutine[Any, Any, T]]) -> T:
    """Run ``work`` with the stores, from a test that is not asynchronous."""

    async def run() -> T:
        async with stores(installation) as found:
            return await work(found)

    return asyncio.run(run())


def wait_caught_up(
    installation: Installation,
    policy: str = POLICY,
    timeout_s: float = DEADLINE_S,
    explain: Callable[[], object] = lambda: "",
) -> None:
    """Wait until learner and archiver have done everything that there is, for as long as they get on."""

    async def wait(found: Stores) -> None:
        await eventually(
            lambda: found.caught_up(policy),
            f"the learner of {policy} and the archiver to catch up",
            timeout_s=timeout_s,
            progress=lambda: found.reached,
            explain=lambda: f"reached {found.reached}\n{explain()}",
        )

    look(installation, wait)


def folded(outcomes: list[Outcome]) -> dict[str, bytes]:
    """The arms that a fresh fold of outcomes gives, in their stored form."""
    roster = Roster()
    table = ArmTable(roster[POLICY].width)
    deltas, _ = fold_outcomes(outcomes, roster.spec(POLICY), roster[POLICY])
    for name, delta in deltas.items():
        table.add(name, delta)
    return dict(table.fields())


async def check_arms(found: Stores) -> Arms:
    """Arms in Redis equal a fresh fold of the outcomes in Postgres, bit for bit. Returns them."""
    arms = await found.arms.load(POLICY)
    assert arms is not None
    assert arms.fields == folded(await found.outcomes())
    return arms


async def check_roll_ups(found: Stores) -> None:
    """Roll-ups equal a fold of decisions and outcomes. Values must be multiples of a power of two to be exact."""
    expected: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    decisions = await found.rows("SELECT decision_id, decided_at, placement, policy, header FROM decisions")
    groups = {(row.decision_id, row.decided_at): row.header["group"] for row in decisions}
    for row in decisions:
        for offer in row.header["offers"]:
            group = row.header["group"]
            expected[_hour(row), row.placement, row.policy, offer["offer_id"], group]["decided"] += 1
    outcomes = await found.rows("SELECT * FROM outcomes WHERE outcome <> 'shown'")
    told: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in outcomes:
        if not row.late:
            told[row.decision_id, row.offer_id][row.outcome] += 1
            told[row.decision_id, row.offer_id]["value"] += row.value or 0
    for row in outcomes:
        group = groups[row.decision_id, row.decided_at]
        counts = expected[_hour(row), row.placement, row.policy, row.offer_id, group]
        if row.outcome in {"closed", "expired"}:
            for name in ("presented", "clicked", "value"):
                counts[f"{name}_closed"] += told[row.decision_id, row.offer_id][name]
            counts["value_squares_closed"] += told[row.decision_id, row.offer_id]["value"] ** 2
            counts["squared_closed"] += 1
        if row.outcome == "withdrawn":
            counts["decided"] -= 1
        elif row.outcome == "expired":
            counts["ignored" if row.reward is not None else "unobserved"] += 1
        elif row.outcome == "closed":
            counts[{1.0: "accepted_closed", 0.0: "rejected_closed", None: "ignored"}[row.reward]] += 1
        elif row.late:
            counts["late"] += 1
        else:
            counts[row.outcome] += 1
            if row.outcome == "accepted":
                counts["value"] += row.value or 0
    stored = {
        (row.hour, row.placement, row.policy, row.offer_id, row.grp): {
            name: getattr(row, name) for name in COUNTS
        }
        for row in await found.rows("SELECT * FROM acceptance")
    }
    assert stored == {key: {name: counts[name] for name in COUNTS} for key, counts in expected.items()}


def _hour(row: Any) -> Any:
    return row.decided_at.replace(minute=0, second=0, microsecond=0)


async def execute(postgres_url: str, *statements: str) -> None:
    """Run statements on a connection of their own."""
    connection = await asyncpg.connect(postgres_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
