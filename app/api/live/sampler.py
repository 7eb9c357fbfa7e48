"""Numbers of the last seconds, read at most once a second for all who watch this process."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping

from app.api.health.backlog import oldest_waiting
from app.api.live.counters import Counted, count, rates
from app.api.live.schemas import LatencyOut, LiveNow
from app.state import ApiState
from app.telemetry import open_registry
from storage import clock
from storage.errors import Unavailable

EVERY_S = 1.0
WINDOW_S = 10.0
"""Rates are of so many seconds, or as many as somebody has watched."""
BACKLOG_EVERY_S = 3.0
OUTCOMES = ("presented", "clicked", "accepted", "rejected")
MAX_WATCHERS = 100
"""Streams of one process at a time."""


class LiveSampler:
    """Reads the counters of all processes. Nothing is read while nobody asks."""

    def __init__(self, state: ApiState) -> None:
        self._state = state
        self._turn = asyncio.Lock()
        self._counted: deque[Counted] = deque()
        self._now: LiveNow | None = None
        self._read_s = float("-inf")
        self._waiting: Mapping[str, int | None] | None = None
        self._waiting_read_s = float("-inf")
        self.watchers = 0

    async def now(self) -> LiveNow:
        """Return the present numbers, at most a second old."""
        async with self._turn:
            if self._now is None or time.monotonic() - self._read_s >= EVERY_S:
                self._now = await self._read()
            return self._now

    async def _read(self) -> LiveNow:
        # In a thread: it reads the files of all processes, which takes some milliseconds.
        counted = await asyncio.to_thread(lambda: count(open_registry().collect(), time.monotonic()))
        self._read_s = counted.at_s
        kept = self._counted
        kept.append(counted)
        # What is older than the window is no measure, but for the newest of it, which begins the window.
        while len(kept) > 2 and kept[1].at_s <= counted.at_s - WINDOW_S:
            kept.popleft()
        await self._read_backlog(counted.at_s)
        found = rates(kept[0], counted)
        total = found.decisions
        return LiveNow(
            at=clock.to_datetime(clock.now_ms()),
            window_s=round(found.over_s, 2) if len(kept) > 1 else 0.0,
            decisions_per_s=total,
            placements_per_s=dict(found.placements),
            feedback_per_s=dict(found.outcomes),
            latency_ms=None if found.latency_ms is None else LatencyOut(**found.latency_ms),
            degraded_per_s=dict(found.degraded),
            decisions=int(counted.decisions),
            outcomes={outcome: int(counted.outcomes.get(outcome, 0)) for outcome in OUTCOMES},
            archive_behind_s=self._behind_s("archived"),
            learning_behind_s=self._behind_s("folded into "),
        )

    async def _read_backlog(self, now_s: float) -> None:
        if now_s - self._waiting_read_s < BACKLOG_EVERY_S:
            return
        self._waiting_read_s = now_s
        try:
            self._waiting = await oldest_waiting(self._state)
        except Unavailable:
            self._waiting = None

    def _behind_s(self, what: str) -> float | None:
        """Return the age (s) of the oldest entry that waits; ``None`` if that is not known."""
        if self._waiting is None:
            return None
        times = [
            at_ms for name, at_ms in self._waiting.items() if name.startswith(what) and at_ms is not None
        ]
        return max(clock.now_ms() - min(times), 0) / 1000 if times else 0.0
