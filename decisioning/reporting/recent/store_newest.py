"""The newest decisions of the last 24 hours, and what came of an offer in them, from the archived log."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_sql import decision_of_row
from decisioning.model.decision import LoggedDecision
from decisioning.reporting.store_bounds import TIMEOUT_S
from storage.clock import to_datetime
from storage.postgres import transaction

# Of each placement by itself, by its index from the newest on: of all together the whole day would be sorted.
_NEWEST = text("""
SELECT d.bucket, d.position, d.header::text AS header, d.candidates, d.priors, d.factors
FROM unnest(cast(:placements AS text[])) AS p (placement) CROSS JOIN LATERAL (
    SELECT * FROM decisions AS of_placement
    WHERE of_placement.placement = p.placement AND decided_at >= now() - interval '1 day'
        AND header ->> 'source' = 'live'
        AND NOT EXISTS (SELECT FROM outcomes AS x WHERE x.decision_id = of_placement.decision_id
            AND x.decided_at = of_placement.decided_at AND x.outcome = 'withdrawn')
    ORDER BY decided_at DESC, decision_id LIMIT :size
) AS d
ORDER BY d.decided_at DESC, d.decision_id LIMIT :size
""")
_TOLD = text("""
SELECT decision_id, decided_at, outcome FROM outcomes
WHERE decision_id = ANY(:ids) AND decided_at = ANY(cast(:times AS timestamptz[])) AND offer_id = :offer AND NOT late
""")

Told = dict[tuple[str, datetime], set[str]]
"""Outcomes by decision: its id and time."""


class NewestDecisions:
    """Reads the newest decisions. Raises ``PostgresUnavailable``, also where that takes too long."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(
        self, placements: Sequence[str], offer_id: str, size: int
    ) -> tuple[list[LoggedDecision], Told]:
        """Read the newest ``size`` live decisions that were delivered, and what came of an offer in them."""
        async with transaction(self._engine) as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = {TIMEOUT_S * 1000}"))
            asked = {"placements": list(placements), "size": size}
            logged = [decision_of_row(row) for row in (await connection.execute(_NEWEST, asked)).all()]
            with_offer = [
                one.decision
                for one in logged
                if any(offer.offer_id == offer_id for offer in one.decision.offers)
            ]
            told: Told = {}
            if with_offer:
                values = {
                    "ids": [one.decision_id for one in with_offer],
                    "times": [to_datetime(one.decided_at_ms) for one in with_offer],
                    "offer": offer_id,
                }
                for row in (await connection.execute(_TOLD, values)).all():
                    told.setdefault((row.decision_id, row.decided_at), set()).add(row.outcome)
        return logged, told
