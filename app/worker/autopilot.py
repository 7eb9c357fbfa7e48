"""The autopilots of placements, looked after by every worker."""

from dataclasses import dataclass

from decisioning.rollout.autopilot_service import AutopilotService

INTERVAL_S = 30.0


@dataclass
class AutopilotJob:
    """Let each autopilot take a step, if one is due, every half minute."""

    service: AutopilotService

    async def round(self) -> float:
        """Look once; return how long to sleep. Raises ``PostgresUnavailable``."""
        await self.service.look()
        return INTERVAL_S
