"""The job that linearises live regressions anew: after an import of history, and every day if they learned anything."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from bandits.regression.linearisation import can_relinearise
from decisioning.learning.store_warm_start import WarmStarter
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.policies.roster import Roster
from decisioning.policies.store_roster import RosterFeed
from decisioning.rollout.store_results import archived_until_ms
from storage.clock import to_ms
from storage.errors import Unavailable

log = logging.getLogger(__name__)

INTERVAL_S = 5.0
REST_FACTOR = 10.0
"""A policy rests for so many times as long as its run took, so that only a small share of a core goes into it."""
RETRY_S = 600.0


@dataclass
class RelinearisingJob:
    """Fold the arms of live policies anew where that is due, one after the other. Several workers share them out.

    ``every_s``: the time between two looks at a policy that nothing was imported for; 0: none.
    """

    feed: RosterFeed
    starter: WarmStarter
    roster: Roster
    reader: LogReader
    archive: ArchiveReader
    clock_ms: Callable[[], int]
    every_s: int
    rest_factor: float = REST_FACTOR
    _not_before_s: dict[str, float] = field(default_factory=dict, init=False)

    async def round(self) -> float:
        """Linearise anew what is due; return how long to sleep. Raises ``Unavailable``."""
        await self.feed.refresh()
        loop = asyncio.get_running_loop()
        for key in self.feed.live():
            if not can_relinearise(self.roster[key]) or loop.time() < self._not_before_s.get(key, 0.0):
                continue
            if not await self._is_due(key):
                continue
            started_s = loop.time()
            try:
                await self.starter.relinearise(key)
                rest_s = self.rest_factor * (loop.time() - started_s)
            except Unavailable:
                raise
            except Exception:  # of one policy; the others must not wait for it
                log.exception("%s cannot be linearised anew", key)
                rest_s = RETRY_S
            self._not_before_s[key] = loop.time() + rest_s
        return INTERVAL_S

    async def _is_due(self, key: str) -> bool:
        store = self.starter.linearisations
        last, imported_at = await store.last_run(key), await store.last_import()
        if imported_at is not None and (last is None or imported_at > last.began_at):
            # Once its rows are archived, so that none is left for a later time.
            now_ms = self.clock_ms()
            return await archived_until_ms(self.reader, self.archive, now_ms) >= to_ms(imported_at)
        if not self.every_s:
            return False
        if last is None:
            return True
        if (await store.now() - last.began_at).total_seconds() < self.every_s:
            return False
        spec = self.roster.spec(key)
        found = await self.archive.observed(since_ms=spec.learn_since_ms, placements=spec.placements)
        return found != last.outcomes
