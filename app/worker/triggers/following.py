"""The job that makes triggers fire, within milliseconds of what happened, and when it is time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from app.metrics import TRIGGERS_FIRED
from app.worker.triggers.settling import REST_S, Settling
from decisioning.catalog.catalogue import Catalogue
from decisioning.triggers.days_service import DayWatch
from decisioning.triggers.following_service import TriggerFollower
from decisioning.triggers.waiting import Plan

BLOCK_MS = 250
"""What is due is looked for so often, where nothing happens."""
OTHER_S = 0.5
"""A worker looks so often whether the one that is at it has gone."""
DAYS_S = 2.0
"""Days are looked for so often."""
NONE_S = 1.0
"""A worker looks so often whether there is a trigger, where there is none."""


@dataclass
class TriggerJob:
    """Follows the log for triggers, and watches for days. Of several workers, one at a time is at it."""

    follower: TriggerFollower
    days: DayWatch
    settling: Settling
    load_catalogue: Callable[[Catalogue | None], Awaitable[Catalogue]]
    clock_ms: Callable[[], int]
    catalogue_every_ms: int = 300
    _catalogue: Catalogue | None = field(default=None, init=False)
    _plan: Plan = field(default_factory=lambda: Plan({}), init=False)
    _read_ms: int = field(default=0, init=False)

    async def round(self) -> float:
        """Follow the log as far as one turn goes; return how long to sleep. Raises ``Unavailable``."""
        catalogue = await self._refresh()
        followed = await self.follower.follow(catalogue, self._plan)
        if followed is None:
            return OTHER_S
        TRIGGERS_FIRED.inc(followed.fired)
        if not self._plan.triggers:
            return 0.0 if followed.more else NONE_S
        if not followed.more:
            await self.follower.wait(self._plan, BLOCK_MS)
        return 0.0

    async def look_for_days(self) -> float:
        """Fire for days that have come; return how long to sleep. Raises ``Unavailable``."""
        if self._catalogue is not None:
            TRIGGERS_FIRED.inc(await self.days.look(self._catalogue, self._plan.dated))
        return DAYS_S

    async def settle(self) -> float:
        """Do a piece of what triggers that came or went need; return how long to sleep. Raises ``Unavailable``."""
        return REST_S if self._catalogue is None else await self.settling.round(self._catalogue, self._plan)

    async def _refresh(self) -> Catalogue:
        now_ms = self.clock_ms()
        if self._catalogue is None or now_ms - self._read_ms >= self.catalogue_every_ms:
            newest = await self.load_catalogue(self._catalogue)
            if newest is not self._catalogue:
                self._catalogue, self._plan = newest, Plan(newest.triggers)
            self._read_ms = now_ms
        return self._catalogue
