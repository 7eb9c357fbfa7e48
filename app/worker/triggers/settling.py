"""The job that does what takes long when triggers come or go: piece by piece, beside the follower."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from decisioning.catalog.catalogue import Catalogue
from decisioning.triggers.store_following import TriggerSettling
from decisioning.triggers.waiting import Plan
from storage.clock import DAY_MS, HOUR_MS
from storage.errors import Unavailable

FORGOTTEN_AT_ONCE = 10_000
"""Waits that are deleted in one transaction."""
MIN_SLICE_MS, MAX_SLICE_MS = 60_000, 30 * DAY_MS
SHORT_S, LONG_S = 0.5, 2.0
"""A slice of the archive that was read faster is followed by a longer one, and one that took longer by a shorter."""
REST_S = 0.5


@dataclass
class Settling:
    """Forgets what removed triggers waited for, and begins waits of new ones on idle customers from the archive."""

    store: TriggerSettling
    ticks_s: Callable[[], float] = time.monotonic
    slice_ms: int = HOUR_MS
    _forgot: int | None = field(default=None, init=False)

    async def round(self, catalogue: Catalogue, plan: Plan) -> float:
        """Do one piece; return how long to sleep: 0 if there may be another. Raises ``PostgresUnavailable``."""
        if catalogue.version != self._forgot:
            if await self.store.forget_removed(FORGOTTEN_AT_ONCE):
                return 0.0
            self._forgot = catalogue.version
        began_s = self.ticks_s()
        try:
            found = await self.store.seed(
                {t.trigger_id: t for t in plan.idle}, self.slice_ms, catalogue.version
            )
        except Unavailable:
            self._shorten()
            raise
        took_s = self.ticks_s() - began_s
        if took_s > LONG_S:
            self._shorten()
        elif took_s < SHORT_S:
            self.slice_ms = min(2 * self.slice_ms, MAX_SLICE_MS)
        return 0.0 if found else REST_S

    def _shorten(self) -> None:
        self.slice_ms = max(self.slice_ms // 2, MIN_SLICE_MS)
