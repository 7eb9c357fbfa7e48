"""Facts for the autopilot, from Postgres: decisions of shadows, and counts of canaries."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.model.deployment import AutopilotTurn
from decisioning.rollout.autopilot import CanaryCounts
from decisioning.rollout.store_canary import CanaryStore
from storage.clock import to_datetime
from storage.postgres import transaction

# A catalogue that could not be read is not the shadow's fault. How slow it is depends on what else its worker does:
# that is judged as a canary, beside the champion.
_SHADOWED = text(
    "SELECT count(DISTINCT decision_id) AS shadowed,"
    " count(DISTINCT decision_id) FILTER (WHERE error IS NOT NULL) AS failed FROM shadow_choices"
    " WHERE placement = :placement AND policy = :policy AND decided_at >= :since"
    " AND coalesce(error, '') NOT IN ('catalogue', 'slow')"
)
_MAX_STAGES = 20


class AutopilotStore:
    """Reads how a candidate does in its turn. All methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._canaries = CanaryStore(engine)

    async def shadowed(self, placement: str, turn: AutopilotTurn) -> tuple[int, int]:
        """Count the decisions that a shadow was asked about in its turn, and those of them in which it raised."""
        values = {"placement": placement, "policy": turn.policy, "since": to_datetime(turn.since_ms)}
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_SHADOWED, values)).one()
            return row.shadowed, row.failed

    async def counts(self, placement: str, turn: AutopilotTurn) -> CanaryCounts:
        """Read the counts of the newest stage of a turn's canary; nothing, if none was counted yet."""
        for test in await self._canaries.tests(placement, _MAX_STAGES):
            if (test.policy, test.since_ms) == (turn.policy, turn.since_ms):
                return CanaryCounts(test.canary, test.others, test.cause, test.reason)
        return CanaryCounts()
