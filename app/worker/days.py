"""The roll-ups by day that reports read: once an hour, days whose reward windows are closed are added."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from storage import clock

INTERVAL_S = 3600.0
OTHERS_S = 60.0


class Days(Protocol):
    """A roll-up by day."""

    async def roll_up(self, now: datetime) -> int:
        """Roll up what can be; return how many days were. Raises ``PostgresUnavailable``."""


@dataclass
class DaysJob:
    """Rolls days up again and again; of several workers, one is at it at a time.

    ``has_others``: whether processes of another version may be running. One that does not know the roll-up would
    archive, erase and remove beside it.
    """

    days: Days
    has_others: Callable[[], bool]

    async def round(self) -> float:
        """Roll up what can be; return how long to sleep. Raises ``PostgresUnavailable``."""
        if self.has_others():
            return OTHERS_S
        await self.days.roll_up(clock.to_datetime(clock.now_ms()))
        return INTERVAL_S
