"""The runs of shadows: policies that say what they would have shown, off the path of any answer."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.metrics import SHADOW_CHOICES, SHADOW_FAILURES, SHADOW_LAG, SHADOW_SKIPPED
from app.processes.tasks import TaskSet
from bandits.sequential_policy import is_learner
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.counterfactual import judge_decision, shadow_rows, shadows_of
from decisioning.evaluation.replay_service import LoggedContexts
from decisioning.evaluation.store_shadows import ShadowStore, Turn
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import ArmStore
from decisioning.learning.store_follow import ArmFollower
from decisioning.model.decision import LoggedDecision
from decisioning.policies.roster import Roster
from storage import clock
from storage.failures import FailureLog
from storage.redaction import describe_error

log = logging.getLogger(__name__)

BATCH_SIZE = 200
INTERVAL_S = 0.3
IDLE_S = 2.0
MAX_BEHIND = 50_000
"""Decisions; when shadows are further behind, they go on with the newest ones."""
ARMS_TIMEOUT_S = 5.0
"""The time after which shadows are run without those whose arms have not come."""
SLOW_MS, MAX_SLOW_IN_A_ROW, PAUSE_S = 100.0, 3, 60.0
"""A shadow that is so slow so many times in a row is not asked for a while: others share its process."""
RETENTION = timedelta(days=30)
FORGET_EVERY_S = 600.0
FORGET_BATCH_SIZE = 20_000


@dataclass(slots=True)
class _Health:
    """The recent slowness of a shadow. Times are the event loop's seconds."""

    wanted_s: float
    slow: int = 0
    paused_until_s: float = 0.0


class ShadowRunner:
    """Judge archived decisions with the shadows of their placement, each once, at the arms as they are now."""

    def __init__(
        self, store: ShadowStore, catalogues: CatalogueStore, roster: Roster, arms: ArmStore
    ) -> None:
        self._store = store
        self._catalogues = catalogues
        self._roster = roster
        self._replica = ArmReplica(roster)
        self._followers = TaskSet(ArmFollower(arms, self._replica).follow)
        self._contexts = LoggedContexts(catalogues)
        self._catalogue: Catalogue | None = None
        self._health: dict[str, _Health] = {}
        self._next_forget_s = 0.0
        self._failures = FailureLog(log)

    async def close(self) -> None:
        """End what follows the arms."""
        await self._followers.close()

    async def round(self) -> float:
        """Judge a batch; return how long to sleep. Raises ``Unavailable``."""
        shadows = await self._refresh_shadows()
        if asyncio.get_running_loop().time() >= self._next_forget_s:
            await self.forget()
        async with self._store.turn() as turn:
            if turn is None:
                return INTERVAL_S  # another worker is at it
            # The position moves on without shadows as well: one that comes later begins with what is decided then.
            if not shadows:
                if turn.newest > turn.position:
                    await turn.write((), turn.newest)
                return IDLE_S
            # A follower is still loading arms: look again soon.
            if not self._has_arms():
                return 0.05
            return await self._judge_batch(turn, shadows)

    async def _judge_batch(self, turn: Turn, shadows: Mapping[str, tuple[str, ...]]) -> float:
        if turn.newest - turn.position > MAX_BEHIND:
            SHADOW_SKIPPED.inc(turn.newest - turn.position)
            await turn.write((), turn.newest)
            return 0.0
        batch = await turn.after(BATCH_SIZE)
        rows: list[dict[str, Any]] = []
        for _, logged in batch:
            decision = logged.decision
            keys = shadows.get(decision.placement, ())
            if keys and decision.source == "live" and decision.numbers:
                for key in keys:
                    rows += await self._run_shadow(key, logged)
                await asyncio.sleep(0)  # learners share this process
        if batch:
            await turn.write(rows, batch[-1][0])
            newest_ms = batch[-1][1].decision.decided_at_ms
            SHADOW_LAG.set(max(clock.now_ms() - newest_ms, 0) / 1000)
        return 0.0 if len(batch) == BATCH_SIZE else INTERVAL_S

    async def _run_shadow(self, key: str, logged: LoggedDecision) -> list[dict[str, Any]]:
        """Record what one shadow would have shown, or the error that it raised."""
        now_s = asyncio.get_running_loop().time()
        health = self._health[key]
        if key not in self._roster or self._replica.epoch(key) is None or now_s < health.paused_until_s:
            reason = "slow" if now_s < health.paused_until_s else "unavailable"
            SHADOW_FAILURES.labels(key, reason).inc()
            return (
                [] if reason == "unavailable" else shadow_rows(logged, key, None, 0, clock.now_ms(), reason)
            )
        selection_context = await self._contexts.of(logged)
        if selection_context is None:
            return shadow_rows(logged, key, None, 0, clock.now_ms(), "catalogue")
        started_ns = time.perf_counter_ns()
        judged, error = None, None
        try:
            prepared = self._replica.prepared(key, selection_context.view, logged.decision.decided_at_ms)
            judged = judge_decision(
                selection_context, logged, self._roster.spec(key), self._roster[key], prepared
            )
        except Exception as raised:  # whatever a shadow does wrong must not stop the others
            error = f"{type(raised).__name__}: {raised}"
            SHADOW_FAILURES.labels(key, "error").inc()
            self._failures.note(key, "shadow %s failed: %s", key, describe_error(raised), error=raised)
        took_us = (time.perf_counter_ns() - started_ns) // 1000
        # A single slow turn may be a pause of the process; only several in a row are the policy's own.
        health.slow = health.slow + 1 if took_us > SLOW_MS * 1000 else 0
        if health.slow >= MAX_SLOW_IN_A_ROW:
            health.slow, health.paused_until_s = 0, now_s + PAUSE_S
            log.warning("shadow %s is slow, and not asked for %.0f s", key, PAUSE_S)
        SHADOW_CHOICES.labels(key).inc()
        return shadow_rows(logged, key, judged, took_us, clock.now_ms(), error)

    async def _refresh_shadows(self) -> dict[str, tuple[str, ...]]:
        """Find the shadows of each placement, and follow their arms."""
        if self._catalogue is None or await self._catalogues.version() > self._catalogue.version:
            self._catalogue = await self._catalogues.load()
        shadows = shadows_of(self._catalogue)
        wanted = {key for keys in shadows.values() for key in keys}
        now_s = asyncio.get_running_loop().time()
        self._health = {key: self._health.get(key) or _Health(now_s) for key in wanted}
        self._followers.want([key for key in wanted if key in self._roster and is_learner(self._roster[key])])
        return shadows

    def _has_arms(self) -> bool:
        """Return whether all arms are here, or have been waited for long enough."""
        now_s = asyncio.get_running_loop().time()
        return all(
            now_s - health.wanted_s > ARMS_TIMEOUT_S
            or (key in self._roster and self._replica.epoch(key) is not None)
            for key, health in self._health.items()
        )

    async def forget(self) -> None:
        """Delete what is old. Raises ``PostgresUnavailable``."""
        before = clock.to_datetime(clock.now_ms()) - RETENTION
        if await self._store.forget(before, FORGET_BATCH_SIZE) < FORGET_BATCH_SIZE:
            self._next_forget_s = asyncio.get_running_loop().time() + FORGET_EVERY_S
