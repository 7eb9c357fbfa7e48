"""A decision's record: from Redis while it waits, from Postgres once it is archived."""

import math
from typing import Any

from decisioning.log.codec import as_json, decode_decision
from decisioning.log.ports import Archive, DecisionLog
from decisioning.model.decision import Decision, LoggedDecision
from decisioning.model.outcome import Outcome
from storage.errors import PostgresUnavailable, RedisUnavailable


async def record_of(decision_id: str, decision_log: DecisionLog, archive: Archive) -> dict[str, Any] | None:
    """Look up the logged record with its outcomes; ``None`` if there is none.

    Archived records also tell their candidates; ``archived`` says whether this one is. Raises
    ``PostgresUnavailable`` or ``RedisUnavailable`` if it cannot be told whether there is one.
    """
    failure: Exception | None = None
    try:
        logged = await archive.decision(decision_id)
        if logged is not None:
            return _archived(logged, await archive.outcomes(decision_id, logged.decision.decided_at_ms))
    except PostgresUnavailable as error:
        failure = error
    try:
        bucket = await decision_log.bucket_of(decision_id)
        fields = {} if bucket is None else await decision_log.waiting(bucket, decision_id)
    except RedisUnavailable as error:
        failure = error
        fields = {}
    if "h" in fields:
        return _waiting(fields)
    if failure is not None:
        raise failure
    return None


async def decision_of(decision_id: str, decision_log: DecisionLog, archive: Archive) -> Decision | None:
    """Look up a decision that feedback could be given on, first in Redis; ``None`` if there is none.

    Raises ``PostgresUnavailable`` or ``RedisUnavailable`` if it cannot be told whether there is one.
    """
    bucket = await decision_log.bucket_of(decision_id)
    fields = {} if bucket is None else await decision_log.waiting(bucket, decision_id)
    if "h" in fields:
        return decode_decision(fields["h"])
    logged = await archive.decision(decision_id)
    return None if logged is None else logged.decision


async def archived_answer(decision_id: str, archive: Archive) -> Decision | None:
    """Look up an answer that has left Redis; ``None`` if there is none, or if it could not be delivered.

    Raises ``PostgresUnavailable``.
    """
    logged = await archive.decision(decision_id)
    if logged is None:
        return None
    outcomes = await archive.outcomes(decision_id, logged.decision.decided_at_ms)
    return None if logged.decision.is_taken_back(outcomes) else logged.decision


def _archived(logged: LoggedDecision, outcomes: list[Outcome]) -> dict[str, Any]:
    candidates = zip(logged.candidates.tolist(), logged.base_propensities.tolist(), strict=True)
    record: dict[str, Any] = as_json(logged.decision)
    return record | {
        "archived": True,
        "log": {"bucket": logged.bucket, "position": logged.position},
        # JSON has no NaN.
        "candidates": [{"number": n, "prior": None if math.isnan(p) else p} for n, p in candidates],
        "outcomes": [
            {
                "offer_id": o.offer_id,
                "outcome": o.outcome,
                "value": o.value,
                "occurred_at_ms": o.at_ms,
                "recorded_at_ms": o.recorded_ms,
                "late": o.late,
                "reward": o.reward,
            }
            for o in outcomes
            if o.outcome
            not in ("shown", "closed")  # nobody told them: they repeat the decision, and an answer
        ],
    }


def _waiting(fields: dict[str, bytes]) -> dict[str, Any]:
    outcomes = []
    for name, value in fields.items():
        if name.startswith("r:"):
            _, offer_id, outcome = name.split(":")
            outcomes.append({"offer_id": offer_id, "outcome": outcome, "recorded_at_ms": int(value)})
    record: dict[str, Any] = as_json(decode_decision(fields["h"]))
    return record | {"archived": False, "outcomes": outcomes}
