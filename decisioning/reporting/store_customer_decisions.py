"""A customer's decisions with their outcomes, from the archived log."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_sql import GROUP_OF, IN_LOG_ORDER
from storage.clock import to_datetime, to_ms
from storage.postgres import transaction

STATEMENT_MS = 8000
_NOT_TOLD = ("shown", "closed")
"""Outcomes that nobody told: they repeat the decision, and an answer."""

_DECISIONS = f"""
SELECT d.decision_id, d.decided_at, d.placement, d.policy, {GROUP_OF} AS grp, d.header ->> 'source' AS source,
    d.header ->> 'channel' AS channel, d.header -> 'degraded' AS degraded, d.header -> 'offers' AS offers
FROM decisions AS d
WHERE d.customer_id = :customer_id {{before}}
ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT :most
"""
_BEFORE = "AND (d.decided_at, d.decision_id) < (cast(:at AS timestamptz), cast(:id AS text))"
_OUTCOMES = text(f"""
SELECT decision_id, decided_at, offer_id, outcome, value, reason, at_ms, recorded_ms, late FROM outcomes
WHERE decision_id = ANY(:ids) AND decided_at = ANY(cast(:times AS timestamptz[])) AND outcome <> ALL(:not_told)
ORDER BY {IN_LOG_ORDER}
""")


async def decisions_of_customer(
    engine: AsyncEngine, customer_id: str, limit: int, before: tuple[int, str] | None
) -> list[dict[str, Any]]:
    """Read the newest ``limit`` decisions of a customer, older ones than ``before`` (Unix ms and id) if that is given.

    Times are Unix ms. Each has ``offers`` in the order of their ranks, each of these its ``outcomes`` in the order in
    which they were recorded. Raises ``PostgresUnavailable``.
    """
    values: dict[str, Any] = {"customer_id": customer_id, "most": limit}
    if before is not None:
        values |= {"at": to_datetime(before[0]), "id": before[1]}
    query = text(_DECISIONS.format(before="" if before is None else _BEFORE))
    async with transaction(engine) as connection:
        await connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_MS}"))
        rows = (await connection.execute(query, values)).all()
        told: Sequence[Any] = ()
        if rows:
            asked = {
                "ids": [row.decision_id for row in rows],
                "times": [row.decided_at for row in rows],
                "not_told": [*_NOT_TOLD],
            }
            told = (await connection.execute(_OUTCOMES, asked)).all()
    outcomes: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in told:
        outcomes.setdefault((one.decision_id, one.decided_at, one.offer_id), []).append(
            {
                "outcome": one.outcome,
                "occurred_at_ms": one.at_ms,
                "recorded_at_ms": one.recorded_ms,
                "value": one.value,
                "reason": one.reason,
                "late": one.late,
            }
        )
    return [_decision(row, outcomes) for row in rows]


def _decision(row: Any, outcomes: Mapping[tuple[Any, ...], list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "decision_id": row.decision_id,
        "decided_at_ms": to_ms(row.decided_at),
        "placement": row.placement,
        "channel": row.channel,
        "policy": row.policy,
        "control_group": row.grp,
        "source": row.source,
        "degraded": row.degraded or [],
        "offers": [
            {
                "offer_id": offer["offer_id"],
                "rank": offer["rank"],
                "treatment_id": (offer.get("treatment") or {}).get("treatment_id"),
                "outcomes": outcomes.get((row.decision_id, row.decided_at, offer["offer_id"]), []),
            }
            for offer in row.offers
        ],
    }
