"""Choosing with a placement's policy, or with its fallback when the policy fails, is slow, or has no arms yet."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from bandits.policy import Policy
from decisioning.engine import Contest, Selection, in_control_group, select
from decisioning.explain import Situation, explain
from decisioning.records import Header
from decisioning.replica import ArmReplica
from decisioning.service.work import Work

log = logging.getLogger(__name__)

SLOW_TURNS = 3
SLOW_PAUSE_MS = 1000


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selection, by the policy ``key`` (``name@version``), with its arms at ``epoch``."""

    selection: Selection
    key: str
    epoch: int
    control: bool


@dataclass(slots=True)
class _Turns:
    """How a policy has kept its time lately."""

    slow: int = 0
    paused_until_ms: int = 0


class Chooser:
    """Runs policies on contests, and keeps them to their time."""

    def __init__(self, replica: ArmReplica, policies: Mapping[str, Policy], budget_ms: float) -> None:
        self._replica = replica
        self._policies = policies
        self._budget_ms = budget_ms
        self._turns: dict[str, _Turns] = {}

    def choose(self, work: Work, contest: Contest) -> Chosen:
        """Choose with the placement's policy (or its control policy), or with the fallback if that fails."""
        placement = work.view.placement
        control = in_control_group(work.request.customer_id, placement)
        key = f"{placement.control_policy if control else placement.policy}@1"
        selection = self._tried(work, contest, key)
        if selection is None:
            key = f"{placement.fallback_policy}@1"
            prepared = self._replica.prepared(key, contest.view, work.now_ms)
            selection = select(contest, self._policies[key], prepared)
        return Chosen(selection, key, self._replica.epoch(key) or 0, control)

    def explain(self, work: Work, header: Header) -> Header:
        """Why and why not, if it was asked for and this is a decision that was made now by a policy."""
        key = f"{header['policy']['name']}@{header['policy']['version']}"
        if not work.request.explain or work.selection is None or key not in self._policies:
            return {}
        expected = work.selection.propensities
        situation = Situation(
            catalogue=work.catalogue,
            view=work.view,
            profile=work.profile,
            history=work.history,
            evaluation=work.evaluation,
            weights=work.weights,
            exhausted=work.exhausted,
            now_ms=work.now_ms,
            propensities=[] if expected is None else expected.tolist(),
            selection=work.selection,
        )
        return {"explanation": explain(situation)}

    def _tried(self, work: Work, contest: Contest, key: str) -> Selection | None:
        """A policy's selection; ``None`` if it cannot or should not be used now, with the reason noted."""
        turns = self._turns.setdefault(key, _Turns())
        if self._replica.epoch(key) is None:
            work.degrade("arms_unavailable")
            return None
        if work.now_ms < turns.paused_until_ms:
            work.degrade("policy_slow")
            return None
        started = asyncio.get_running_loop().time()
        try:
            prepared = self._replica.prepared(key, contest.view, work.now_ms)
            selection = select(contest, self._policies[key], prepared)
        except Exception:
            log.exception("policy %s failed", key)
            work.degrade("policy_failed")
            return None
        self._keep_time(turns, work.now_ms, (asyncio.get_running_loop().time() - started) * 1000)
        return selection

    def _keep_time(self, turns: _Turns, now_ms: int, took_ms: float) -> None:
        turns.slow = turns.slow + 1 if took_ms > self._budget_ms else 0
        if turns.slow >= SLOW_TURNS:
            turns.slow = 0
            turns.paused_until_ms = now_ms + SLOW_PAUSE_MS
