"""Decisions put back into Redis from the archive: those that still wait, and what limits have to know of others."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.contact.history import KeptContact, LoggedOutcome, contacts_of_decision
from decisioning.log.codec import history_member, parse_causes, waiting_fields
from decisioning.log.households.store_contacts import reservation_note
from decisioning.log.owners import GRACE_MS, owner_note, owner_ttl_ms
from decisioning.log.store_partitions import in_months
from decisioning.log.store_sql import decision_of_row
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import BUILT_IN
from decisioning.model.position import StreamPosition
from storage.clock import to_ms
from storage.functions import function_name
from storage.keys import Keys, bucket_of_generated
from storage.postgres import transaction
from storage.redis import redis_errors

BATCH_SIZE = 500
ANSWERS = ("accepted", "rejected")

_DECISIONS = """
SELECT d.decision_id, d.decided_at, d.customer_id, d.bucket, d.position, d.header::text AS header,
    (d.header ->> 'until_ms')::bigint AS header_until_ms, d.candidates, d.priors, d.factors,
    ARRAY(
        SELECT l.signal_id FROM lifted_signals AS l
        WHERE l.customer_id = d.customer_id AND l.lifted_ms >= (d.header ->> 'decided_at_ms')::bigint
    ) AS lifted,
    coalesce((
        SELECT CASE WHEN bool_or(x.outcome <> 'withdrawn') THEN 'expired' ELSE 'withdrawn' END FROM outcomes x
        WHERE x.decision_id = d.decision_id AND x.decided_at = d.decided_at
            AND x.outcome IN ('expired', 'closed', 'withdrawn') HAVING count(*) > 0
    ), 'open') AS state
FROM decisions d
WHERE d.header ->> 'source' = 'live'
    AND (
        (d.header ->> 'until_ms')::bigint > :until_ms
        OR (d.header ->> 'decided_at_ms')::bigint > :contacts_from_ms
        OR (d.decision_id, d.decided_at) IN (
            SELECT x.decision_id, x.decided_at FROM outcomes x
            WHERE x.outcome NOT IN ('shown', 'expired', 'closed', 'released', 'withdrawn')
                AND least(x.at_ms, x.recorded_ms) > :contacts_from_ms
        )
    )
"""

_OUTCOMES = """
SELECT decision_id, decided_at, offer_id, outcome, at_ms, recorded_ms, position, silence_ms, late, earned, causes
FROM outcomes
WHERE decision_id = ANY(:ids) AND outcome NOT IN ('shown', 'expired', 'closed', 'withdrawn'){months}
"""


class DecisionRestorer:
    """Works beside a running system: what is in Redis already is completed, never replaced."""

    def __init__(self, engine: AsyncEngine, redis: Redis, keys: Keys) -> None:
        self._engine = engine
        self._redis: Any = redis
        self._keys = keys

    async def restore(self, now_ms: int, history_ms: int) -> int:
        """Put everything back; returns how many decisions were missing.

        ``history_ms`` is the longest contact window. Raises ``RedisUnavailable`` or ``PostgresUnavailable``.
        """
        restored = 0
        async with transaction(self._engine) as connection:
            rows = await connection.stream(
                text(_DECISIONS),
                {"contacts_from_ms": now_ms - history_ms, "until_ms": now_ms - GRACE_MS},
                execution_options={"yield_per": BATCH_SIZE},
            )
            async for part in rows.partitions(BATCH_SIZE):
                outcomes = await _outcomes(connection, part)
                restored += await self._put_back(part, outcomes, now_ms, history_ms)
        return restored

    async def _put_back(
        self, rows: Sequence[Any], outcomes: Mapping[Any, Sequence[Any]], now_ms: int, history_ms: int
    ) -> int:
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for row in rows:
                logged, bucket = decision_of_row(row), self._keys.bucket(row.customer_id)
                is_open = row.state == "open" and row.header_until_ms > now_ms - GRACE_MS
                if is_open and bucket_of_generated(row.decision_id) is None:
                    owner = owner_note(bucket, row.customer_id, row.decision_id)
                    ttl_ms = owner_ttl_ms(int(row.header_until_ms) - now_ms)
                    pipe.set(self._keys.owner(row.decision_id), owner, nx=True, px=ttl_ms)
                keys = (
                    self._keys.decision(bucket, row.decision_id),
                    self._keys.pending(bucket),
                    self._keys.contact(row.customer_id),
                    self._keys.withdrawal(bucket, row.decision_id),
                    self._keys.unconfirmed(bucket),
                )
                found = outcomes.get((row.decision_id, row.decided_at), ())
                kept = [
                    one
                    for one in contacts_of_decision(logged.decision, _told(found), lifted=row.lifted)
                    if one.contact.at_ms > now_ms - history_ms
                ]
                state = "expired" if row.state == "open" and not is_open else row.state
                arguments = _arguments(row.decision_id, state, logged, found, kept, now_ms, history_ms)
                pipe.fcall(function_name("nb_restore"), 5, *keys, *arguments)
                household_id = logged.decision.household
                if household_id is not None and state != "withdrawn":
                    names = (
                        self._keys.household(household_id),
                        self._keys.reservations(self._keys.bucket(household_id)),
                    )
                    # What Redis knows of an open decision may be newer than what is archived. Others it does not have.
                    due = now_ms if is_open else ""
                    note = reservation_note(bucket, row.decision_id, household_id)
                    pipe.fcall(
                        function_name("nb_keep_in_household"),
                        len(names),
                        *names,
                        *(note, due, "GT", history_ms),
                        *_decided_contacts(kept, row.decision_id),
                    )
            return sum(reply == b"restored" for reply in await pipe.execute())


async def _outcomes(connection: AsyncConnection, decisions: Sequence[Any]) -> Mapping[Any, Sequence[Any]]:
    """Read the outcomes of decisions, from the partitions of their months only."""
    found: dict[Any, list[Any]] = defaultdict(list)
    times_ms = [to_ms(row.decided_at) for row in decisions]
    query = _OUTCOMES.format(months=in_months(min(times_ms), max(times_ms)))
    for row in await connection.execute(text(query), {"ids": [row.decision_id for row in decisions]}):
        found[row.decision_id, row.decided_at].append(row)
    return found


def _told(outcomes: Sequence[Any]) -> list[LoggedOutcome]:
    return [
        LoggedOutcome(
            o.offer_id,
            o.outcome,
            o.at_ms,
            o.recorded_ms,
            StreamPosition(o.position),
            parse_causes(o.causes or ""),
        )
        for o in outcomes
    ]


def _decided_contacts(kept: Sequence[KeptContact], decision_id: str) -> list[Any]:
    """Write the contacts that limits per household count: time and member of each."""
    decided = [one.contact for one in kept if one.contact.kind == "d"]
    return [part for one in decided for part in (one.at_ms, history_member(one, decision_id))]


def _arguments(
    decision_id: str,
    state: str,
    logged: LoggedDecision,
    outcomes: Sequence[Any],
    kept: Sequence[KeptContact],
    now_ms: int,
    history_ms: int,
) -> list[Any]:
    """Make the arguments of ``nb_restore``."""
    decision = logged.decision
    confirm_ms = None if decision.contacts is None else decision.contacts.confirm_until_ms
    if any(o.outcome == "released" for o in outcomes):
        confirm_ms = None
    arguments: list[Any] = [
        decision_id,
        decision.until_ms,
        max(decision.until_ms - now_ms, 0) + GRACE_MS,
        history_ms,
        decision.decided_at_ms,
        state,
        "" if confirm_ms is None else confirm_ms,
        len(kept),
    ]
    for one in kept:
        arguments += (
            one.offer_id if one.reserved else "",
            one.contact.at_ms,
            history_member(one.contact, decision_id),
        )
    for outcome in outcomes:
        is_release = outcome.outcome == "released"
        name = f"rel:{outcome.offer_id}" if is_release else f"r:{outcome.offer_id}:{outcome.outcome}"
        arguments += (name, outcome.recorded_ms)
        if outcome.late and outcome.outcome in ("accepted", "rejected"):
            arguments += (f"l:{outcome.offer_id}", 1)
        if is_release or outcome.outcome in ANSWERS:
            continue
        if outcome.outcome not in BUILT_IN:
            arguments += (f"own:{outcome.offer_id}", outcome.recorded_ms)
        if outcome.silence_ms is not None:
            arguments += (f"z:{outcome.offer_id}", outcome.silence_ms)
    # What was earned last: each says all that was earned before it.
    earned = {o.offer_id: o.earned for o in sorted(outcomes, key=_place_in_log) if o.earned}
    for offer_id, amounts in earned.items():
        arguments += (f"g:{offer_id}", amounts)
    fields = waiting_fields(logged) if state == "open" else {}
    return [*arguments, "", *(part for pair in fields.items() for part in pair)]


def _place_in_log(outcome: Any) -> tuple[int, int]:
    return StreamPosition(outcome.position).parts
