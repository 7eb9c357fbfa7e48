"""The job that compares what was reserved in households with what became of the decisions."""

from dataclasses import dataclass

from decisioning.log.households.store_reservations import Reservations
from storage import clock

BATCH_SIZE = 200
INTERVAL_S = 2.0


@dataclass
class ReservationJob:
    """Give households back what was reserved for what was not decided. Any number may run."""

    reservations: Reservations

    async def round(self) -> float:
        """Compare what is due; return how long to sleep. Raises ``RedisUnavailable``."""
        more = await self.reservations.settle_due(clock.now_ms(), BATCH_SIZE)
        return 0.0 if more else INTERVAL_S
