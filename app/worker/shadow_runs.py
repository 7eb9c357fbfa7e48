"""Shadows: policies that are asked what they would have shown, behind the archive, off the path of any answer."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.metrics import SHADOW_CHOICES, SHADOW_FAILURES, SHADOW_LAG, SHADOW_SKIPPED
from app.state import clock_ms
from app.tasks import TaskSet
from bandits.sequential_policy import learns
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.counterfactual import judge_decision
from decisioning.evaluation.replay_service import LoggedContexts
from decisioning.evaluation.shadowing import shadow_rows, shadows_of
from decisioning.evaluation.store_shadows import ShadowStore, Turn
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import ArmStore
from decisioning.learning.store_follow import ArmFollower
from decisioning.model.decision import LoggedDecision
from decisioning.policies.roster import Roster

log = logging.getLogger(__name__)

AT_ONCE = 200
INTERVAL_S = 0.3
IDLE_S = 2.0
MOST_BEHIND = 50_000
"""Decisions; when shadows are further behind, they go on with the newest ones."""
PATIENCE_S = 5.0
"""How long the arms of a shadow are waited for."""
SLOW_MS, SLOW_TURNS, PAUSE_S = 100.0, 3, 60.0
"""A shadow that is so slow so many times in a row is not asked for a while: others share its process."""
KEPT = timedelta(days=30)
FORGET_EVERY_S = 600.0
FORGET_AT_ONCE = 20_000


@dataclass(slots=True)
class _Conduct:
    """How a shadow has behaved lately, in the event loop's seconds."""

    wanted_s: float
    slow: int = 0
    paused_until_s: float = 0.0


class ShadowJob:
    """Judges archived decisions with the shadows of their placement, each once, at the arms as they are now."""

    def __init__(
        self, store: ShadowStore, catalogues: CatalogueStore, roster: Roster, arms: ArmStore
    ) -> None:
        self._store = store
        self._catalogues = catalogues
        self._roster = roster
        self._replica = ArmReplica(roster)
        self._followers = TaskSet(ArmFollower(arms, self._replica).follow)
        self._contests = LoggedContexts(catalogues)
        self._catalogue: Catalogue | None = None
        self._conduct: dict[str, _Conduct] = {}
        self._forget_s = 0.0

    async def close(self) -> None:
        """End what follows the arms."""
        await self._followers.close()

    async def round(self) -> float:
        """Judge a batch; returns how long to sleep. Raises ``RedisUnavailable`` or ``PostgresUnavailable``."""
        shadows = await self._shadows()
        if asyncio.get_running_loop().time() >= self._forget_s:
            await self.forget()
        async with self._store.turn() as turn:
            if turn is None:
                return INTERVAL_S  # another worker is at it
            if not shadows:
                if turn.newest > turn.position:
                    await turn.write((), turn.newest)
                return IDLE_S
            if not self._ready():
                return 0.05
            return await self._judge(turn, shadows)

    async def _judge(self, turn: Turn, shadows: Mapping[str, tuple[str, ...]]) -> float:
        if turn.newest - turn.position > MOST_BEHIND:
            SHADOW_SKIPPED.inc(turn.newest - turn.position)
            await turn.write((), turn.newest)
            return 0.0
        batch = await turn.after(AT_ONCE)
        rows: list[dict[str, Any]] = []
        for _, logged in batch:
            decision = logged.decision
            keys = shadows.get(decision.placement, ())
            if keys and decision.source == "live" and decision.numbers:
                for key in keys:
                    rows += await self._ask(key, logged)
                await asyncio.sleep(0)  # learners share this process
        if batch:
            await turn.write(rows, batch[-1][0])
            newest_ms = batch[-1][1].decision.decided_at_ms
            SHADOW_LAG.set(max(clock_ms() - newest_ms, 0) / 1000)
        return 0.0 if len(batch) == AT_ONCE else INTERVAL_S

    async def _ask(self, key: str, logged: LoggedDecision) -> list[dict[str, Any]]:
        """What one shadow would have shown, or the error that it raised. Nothing it does goes further than here."""
        now_s = asyncio.get_running_loop().time()
        conduct = self._conduct[key]
        if key not in self._roster or self._replica.epoch(key) is None or now_s < conduct.paused_until_s:
            reason = "slow" if now_s < conduct.paused_until_s else "unavailable"
            SHADOW_FAILURES.labels(key, reason).inc()
            return [] if reason == "unavailable" else shadow_rows(logged, key, None, 0, clock_ms(), reason)
        selection_context = await self._contests.of(logged)
        if selection_context is None:
            return shadow_rows(logged, key, None, 0, clock_ms(), "catalogue")
        started_ns = time.perf_counter_ns()
        judged, error = None, None
        try:
            prepared = self._replica.prepared(key, selection_context.view, logged.decision.decided_at_ms)
            judged = judge_decision(
                selection_context, logged, self._roster.spec(key), self._roster[key], prepared
            )
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
            SHADOW_FAILURES.labels(key, "error").inc()
            log.warning("shadow %s failed: %s", key, error)
        took_us = (time.perf_counter_ns() - started_ns) // 1000
        conduct.slow = conduct.slow + 1 if took_us > SLOW_MS * 1000 else 0
        if conduct.slow >= SLOW_TURNS:
            conduct.slow, conduct.paused_until_s = 0, now_s + PAUSE_S
            log.warning("shadow %s is slow, and not asked for %.0f s", key, PAUSE_S)
        SHADOW_CHOICES.labels(key).inc()
        return shadow_rows(logged, key, judged, took_us, clock_ms(), error)

    async def _shadows(self) -> dict[str, tuple[str, ...]]:
        """The shadows of each placement; their arms are followed."""
        if self._catalogue is None or await self._catalogues.version() > self._catalogue.version:
            self._catalogue = await self._catalogues.load()
        shadows = shadows_of(self._catalogue)
        wanted = {key for keys in shadows.values() for key in keys}
        now_s = asyncio.get_running_loop().time()
        self._conduct = {key: self._conduct.get(key) or _Conduct(now_s) for key in wanted}
        self._followers.want([key for key in wanted if key in self._roster and learns(self._roster[key])])
        return shadows

    def _ready(self) -> bool:
        """Whether all arms are here, or have been waited for long enough."""
        now_s = asyncio.get_running_loop().time()
        return all(
            now_s - conduct.wanted_s > PATIENCE_S
            or (key in self._roster and self._replica.epoch(key) is not None)
            for key, conduct in self._conduct.items()
        )

    async def forget(self) -> None:
        """Delete what is old. Raises ``PostgresUnavailable``."""
        before = datetime.fromtimestamp(clock_ms() / 1000, UTC) - KEPT
        if await self._store.forget(before, FORGET_AT_ONCE) < FORGET_AT_ONCE:
            self._forget_s = asyncio.get_running_loop().time() + FORGET_EVERY_S
