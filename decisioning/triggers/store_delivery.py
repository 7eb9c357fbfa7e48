"""Firings in Postgres that something is still to be done with: taken up by one worker at a time, shown, sent again."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.model.trigger import DAY_OVER, NOT_DECLARED
from decisioning.triggers.delivery import OpenFiring, Plan, Progress
from decisioning.triggers.firing import FiringStatus
from storage.clock import to_datetime, to_ms
from storage.postgres import single_statement

LEASE_MS = 60_000
"""A firing whose worker died is taken up again after so long."""
MAX_AT_ONCE = 500
"""Firings whose progress is kept, or that are looked at, in one statement."""

_OPEN = "status IN ('due', 'decided')"
# Each trigger by its own index, so that a backlog of one holds up no other. Materialized: it locks once. The plan that
# needs no comparison is kept with the claim, which costs no statement of its own.
_CLAIM = text(f"""
WITH claimed AS MATERIALIZED (
    SELECT mine.firing_id, t.plan
    FROM unnest(cast(:triggers AS text[]), cast(:rooms AS integer[]), cast(:plans AS text[]))
        AS t (trigger_id, room, plan)
    CROSS JOIN LATERAL (
        SELECT o.firing_id FROM trigger_firings AS o
        WHERE o.trigger_id = t.trigger_id AND o.{_OPEN} AND o.next_attempt_at <= :now
        ORDER BY o.next_attempt_at LIMIT t.room FOR UPDATE SKIP LOCKED
    ) AS mine
)
UPDATE trigger_firings AS f SET attempts = f.attempts + 1, next_attempt_at = :lease, updated_at = :now,
    chosen = coalesce(f.chosen, cast(claimed.plan AS jsonb))
FROM claimed WHERE f.firing_id = claimed.firing_id
RETURNING f.*
""")
# By the number of the try: a worker that was too slow changes nothing any more.
_KEEP = text(f"""
UPDATE trigger_firings AS f SET status = n.status, status_reason = n.reason, updated_at = :now,
    decision_id = coalesce(n.decision_id, f.decision_id),
    chosen = coalesce(cast(n.chosen AS jsonb), f.chosen), next_attempt_at = n.next_at
FROM unnest(cast(:ids AS uuid[]), cast(:attempts AS integer[]), cast(:statuses AS text[]), cast(:reasons AS text[]),
    cast(:decisions AS text[]), cast(:chosen AS text[]), cast(:next AS timestamptz[]))
    AS n (firing_id, attempts, status, reason, decision_id, chosen, next_at)
WHERE f.firing_id = n.firing_id AND f.attempts = n.attempts AND f.{_OPEN}
RETURNING f.firing_id
""")
_HELD = text(f"""
SELECT f.firing_id FROM trigger_firings AS f
JOIN unnest(cast(:ids AS uuid[]), cast(:attempts AS integer[])) AS n (firing_id, attempts) USING (firing_id)
WHERE f.attempts = n.attempts AND f.{_OPEN}
""")
_DROP = text(f"""
UPDATE trigger_firings SET status = 'dropped', status_reason = :reason, next_attempt_at = NULL, updated_at = :now
WHERE {_OPEN} AND next_attempt_at <= :now AND NOT trigger_id = ANY(:known) AND catalogue_version <= :version
RETURNING trigger_id
""")
_AGAIN = text("""
UPDATE trigger_firings SET status = 'decided', next_attempt_at = :now, updated_at = :now,
    deadline_at = cast(:now AS timestamptz) + (deadline_at - coalesce(began_at, fired_at)),
    began_at = :now, earlier_attempts = attempts
WHERE firing_id = cast(:firing_id AS uuid) AND status = 'failed' RETURNING *
""")
# What is noted of a day that was over is no time at which its trigger fired, as for `again_after_s`.
_COUNTS = text("""
SELECT trigger_id, status, firings,
    -- The reason is in no index, so it is looked at where it matters alone.
    CASE WHEN status <> 'dropped' THEN last_fired_at ELSE (
        SELECT max(d.fired_at) FROM trigger_firings AS d
        WHERE d.trigger_id = c.trigger_id AND d.status = 'dropped' AND d.fired_at >= :since
            AND d.status_reason IS DISTINCT FROM cast(:past AS text)
    ) END AS last_fired_at
FROM (
    SELECT trigger_id, status, count(*) AS firings, max(fired_at) AS last_fired_at
    FROM trigger_firings WHERE fired_at >= :since GROUP BY trigger_id, status
) AS c ORDER BY trigger_id, status
""")
_ONE = text("SELECT * FROM trigger_firings WHERE firing_id = cast(:firing_id AS uuid)")


@dataclass(frozen=True, slots=True)
class FiringFilter:
    """The firings to show; ``None`` leaves all. ``before``: time (Unix ms) and id of the last one shown before."""

    trigger: str | None = None
    status: FiringStatus | None = None
    customer_id: str | None = None
    before: tuple[int, str] | None = None


_Item = TypeVar("_Item")


class _Together(Generic[_Item]):
    """Asks the same of many at once: those that come while a statement runs are in the next one.

    ``ask`` gets items, and returns the ids of those firings of which the answer is yes. ``id_of`` an item's.
    """

    def __init__(
        self, ask: Callable[[Sequence[_Item]], Awaitable[set[str]]], id_of: Callable[[_Item], str]
    ) -> None:
        self._ask = ask
        self._id_of = id_of
        self._waiting: list[tuple[_Item, asyncio.Future[bool]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, item: _Item) -> bool:
        """Ask of an item, with others. Raises what asking raises."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all())
        return await done

    async def _ask_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_AT_ONCE], self._waiting[MAX_AT_ONCE:]
            try:
                yes = await self._ask([item for item, _ in batch])
            except Exception as error:  # each of those who wait is told
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for item, done in batch:
                    if not done.done():
                        done.set_result(self._id_of(item) in yes)


class FiringDeliveries:
    """The firings that are open. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._keeping = _Together(self._keep_all, lambda kept: kept[0].firing.firing_id)
        self._looking = _Together(self._held, lambda firing: firing.firing_id)

    async def claim(
        self, rooms: Mapping[str, int], plans: Mapping[str, Plan | None], now_ms: int
    ) -> list[OpenFiring]:
        """Take up what is due of triggers: at most so many of each. Of several workers one gets each.

        ``plans``: of triggers, kept with the claim for those of their firings that have none.
        """
        known = [plans.get(name) for name in rooms]
        values = {
            "triggers": list(rooms),
            "rooms": list(rooms.values()),
            "plans": [None if plan is None else to_json(plan.as_json()).decode() for plan in known],
            "now": to_datetime(now_ms),
            "lease": to_datetime(now_ms + LEASE_MS),
        }
        async with single_statement(self._engine) as connection:
            rows = (await connection.execute(_CLAIM, values)).all()
        return sorted(map(_open_firing, rows), key=lambda firing: firing.fired_at_ms)

    async def keep(self, progress: Progress, now_ms: int) -> bool:
        """Keep what a firing has come to. False if another worker has taken it up since, or it is gone."""
        return await self._keeping.ask((progress, now_ms))

    async def holds(self, firing: OpenFiring) -> bool:
        """Look whether a firing is still there, and of the worker that took it up."""
        return await self._looking.ask(firing)

    async def _held(self, firings: Sequence[OpenFiring]) -> set[str]:
        values = {"ids": [f.firing_id for f in firings], "attempts": [f.attempts for f in firings]}
        async with single_statement(self._engine) as connection:
            return {str(row.firing_id) for row in await connection.execute(_HELD, values)}

    async def _keep_all(self, kept: Sequence[tuple[Progress, int]]) -> set[str]:
        batch, now_ms = [progress for progress, _ in kept], kept[-1][1]
        values = {
            "ids": [p.firing.firing_id for p in batch],
            "attempts": [p.firing.attempts for p in batch],
            "statuses": [p.status for p in batch],
            "reasons": [p.reason for p in batch],
            "decisions": [p.decision_id for p in batch],
            "chosen": [None if p.chosen is None else to_json(dict(p.chosen)).decode() for p in batch],
            "next": [None if p.next_attempt_ms is None else to_datetime(p.next_attempt_ms) for p in batch],
            "now": to_datetime(now_ms),
        }
        async with single_statement(self._engine) as connection:
            return {str(row.firing_id) for row in await connection.execute(_KEEP, values)}

    async def drop_undeclared(self, known: Sequence[str], version: int, now_ms: int) -> list[str]:
        """Drop what is due of triggers that are not ``known`` any more; returns the trigger of each.

        ``version``: the catalogue's with these. What fired by a newer one is left to who knows that.
        """
        values = {
            "known": list(known),
            "version": version,
            "now": to_datetime(now_ms),
            "reason": NOT_DECLARED,
        }
        async with single_statement(self._engine) as connection:
            return [row.trigger_id for row in await connection.execute(_DROP, values)]

    async def send_again(self, firing_id: str, now_ms: int) -> Any | None:
        """Let a failed firing be sent again, with as much time as at first; ``None`` if it has not failed."""
        values = {"firing_id": firing_id, "now": to_datetime(now_ms)}
        async with single_statement(self._engine) as connection:
            return (await connection.execute(_AGAIN, values)).first()

    async def find(self, firing_id: str) -> Any | None:
        """Read a firing; ``None`` if there is none."""
        async with single_statement(self._engine) as connection:
            return (await connection.execute(_ONE, {"firing_id": firing_id})).first()

    async def counts(self, since_ms: int) -> list[Any]:
        """Count firings since a time by trigger and status; ``last_fired_at`` is ``None`` where no day was to come."""
        values = {"since": to_datetime(since_ms), "past": DAY_OVER}
        async with single_statement(self._engine) as connection:
            return list(await connection.execute(_COUNTS, values))

    async def shown(self, wanted: FiringFilter, limit: int) -> list[Any]:
        """Read firings, the newest first."""
        tests: dict[str, Any] = {
            "trigger_id = :trigger": wanted.trigger,
            "status = :status": wanted.status,
            "customer_id = :customer_id": wanted.customer_id,
        }
        values = {test.rpartition(":")[2]: value for test, value in tests.items() if value is not None}
        held = [test for test, value in tests.items() if value is not None]
        if wanted.before is not None:
            at_ms, firing_id = wanted.before
            held.append("(fired_at, firing_id) < (:fired_at, cast(:firing_id AS uuid))")
            values |= {"fired_at": to_datetime(at_ms), "firing_id": firing_id}
        where = f"WHERE {' AND '.join(held)}" if held else ""
        query = f"SELECT * FROM trigger_firings {where} ORDER BY fired_at DESC, firing_id DESC LIMIT :most"
        async with single_statement(self._engine) as connection:
            return list(await connection.execute(text(query), values | {"most": limit}))


def _open_firing(row: Any) -> OpenFiring:
    return OpenFiring(
        firing_id=str(row.firing_id),
        trigger_id=row.trigger_id,
        customer_id=row.customer_id,
        cause=row.cause,
        fired_at_ms=to_ms(row.fired_at),
        deadline_at_ms=to_ms(row.deadline_at),
        status=row.status,
        status_reason=row.status_reason,
        decision_id=row.decision_id,
        chosen=row.chosen,
        attempts=row.attempts,
        earlier_attempts=row.earlier_attempts,
        lease_until_ms=to_ms(row.next_attempt_at),
    )
