"""The policies of a worker: learners for those that are live, warm starts for those that are new."""

import asyncio
import logging
from dataclasses import dataclass, field

from app.processes.tasks import TaskSet
from decisioning.learning.store_warm_start import WarmStarter
from decisioning.policies.roster import Roster
from decisioning.policies.store_roster import RosterFeed
from storage.errors import Unavailable

log = logging.getLogger(__name__)

INTERVAL_S = 0.2
RETRY_S = 5.0
"""The time after which a warm start that failed is tried again: twice as long after each time that it failed."""
MAX_RETRY_S = 600.0
COLD_STATES = ("registered", "folding", "failed")


@dataclass
class PolicySupervisor:
    """Keep the learners of a worker in step with the policies that are registered."""

    feed: RosterFeed
    learners: TaskSet

    async def round(self) -> float:
        """Start and end learners; return how long to sleep. Raises ``PostgresUnavailable``."""
        await self.feed.refresh()
        self.learners.want(self.feed.live())
        return INTERVAL_S


@dataclass
class WarmStartJob:
    """Warm up one policy after the other. Several workers share them out.

    ``feed``: refreshed by the ``PolicySupervisor`` of the same process.
    """

    feed: RosterFeed
    starter: WarmStarter
    roster: Roster
    retry_s: float = RETRY_S
    _due_s: dict[str, float] = field(default_factory=dict, init=False)
    _pause_s: dict[str, float] = field(default_factory=dict, init=False)

    async def round(self) -> float:
        """Warm up what is to be; return how long to sleep. Raises ``Unavailable``."""
        for key, state in self.feed.states.items():
            if state in COLD_STATES and self._is_due(key):
                await self._warm(key)
        return INTERVAL_S

    def _is_due(self, key: str) -> bool:
        return asyncio.get_running_loop().time() >= self._due_s.get(key, 0.0)

    async def _warm(self, key: str) -> None:
        try:
            if key not in self.roster:
                raise LookupError(self.roster.broken.get(key, "it is not known here"))
            await self.starter.warm(key)
        except Unavailable:  # of the stores, not of the policy: the round is done again
            raise
        except Exception as error:  # of one policy; the others must not wait for it
            # It reads the whole archive each time: a policy that fails for good must not do so every few seconds.
            pause_s = self._pause_s.get(key, self.retry_s)
            self._due_s[key] = asyncio.get_running_loop().time() + pause_s
            self._pause_s[key] = min(2.0 * pause_s, MAX_RETRY_S)
            if key in self.roster:
                log.exception("the warm start of %s failed", key)
            # Kept with the policy, where those who registered it look.
            await self.feed.store.fail_warm_start(key, str(error) or type(error).__name__)
