"""Choosing with a placement's policy, or with its fallback when the policy fails, is slow, or has no arms yet."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from bandits.policy import PolicyKey
from decisioning.decide.assignment import adjust_weights_for_group
from decisioning.decide.explanation import Situation, explain
from decisioning.decide.ranking import SelectionContext, select
from decisioning.decide.request import Work
from decisioning.learning.replica import ArmReplica
from decisioning.model.deciders import NOBODY
from decisioning.model.decision import Decision, Overrun, PolicyFailure
from decisioning.model.degraded import DegradedReason
from decisioning.model.selection import Selection
from decisioning.policies.roster import Roster

log = logging.getLogger(__name__)

SLOW_TURNS = 3
SLOW_PAUSE_MS = 1000


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """A selection, by the policy ``key`` (``name@version``), with its arms at ``epoch``.

    ``wanted``: the rows of the caller's own choice, if that is what was answered and the policy only scored it.
    ``failed``: the policy that should have decided (or scored), and why it did not. ``over_budget``: it did, but late.
    """

    selection: Selection
    key: str
    epoch: int
    wanted: tuple[int, ...] | None = None
    failed: PolicyFailure | None = None
    over_budget: Overrun | None = None


@dataclass(slots=True)
class _Turns:
    """How a policy has kept its time lately. ``latest``: the last time, if it took too long."""

    slow: int = 0
    latest: Overrun | None = None
    paused_until_ms: int = 0


class PolicyRunner:
    """Runs policies on contests, and keeps them to their time."""

    def __init__(self, replica: ArmReplica, roster: Roster, budget_ms: float) -> None:
        self._replica = replica
        self._roster = roster
        self._budget_ms = budget_ms
        self._turns: dict[str, _Turns] = {}

    def choose(self, work: Work, selection_context: SelectionContext) -> PolicyResult:
        """Choose with the policy of the customer's role, or with the placement's fallback if that fails.

        Where the caller's own choice is answered they only score it: it is answered whichever of them does. The contest
        as it was decided is left in ``work``.
        """
        key = work.role.policy
        if work.role.group == "caller" and selection_context.wanted is None:
            failed: DegradedReason | None = DegradedReason.BASELINE_MISSING
            work.degrade(DegradedReason.BASELINE_MISSING)
        else:
            failed = self._tried(work, selection_context, key)
        if failed is None:
            assert work.selection is not None
            latest = self._turns[key].latest
            return PolicyResult(
                work.selection,
                key,
                self._replica.epoch(key) or 0,
                selection_context.wanted,
                over_budget=latest,
            )
        fallback = PolicyKey.of(work.view.placement.fallback_policy, 1)
        self._choose(work, selection_context, fallback)
        assert work.selection is not None
        epoch = self._replica.epoch(fallback) or 0
        return PolicyResult(
            work.selection, fallback, epoch, selection_context.wanted, PolicyFailure(key, failed)
        )

    def explain(self, work: Work, decision: Decision) -> dict[str, Any]:
        """Why and why not, if it was asked for and this is a decision that was made now by a policy."""
        if not work.request.explain or work.selection is None or decision.policy.key == NOBODY:
            return {}
        expected = work.selection.propensities
        situation = Situation(
            catalogue=work.catalogue,
            view=work.view,
            profile=work.profile,
            history=work.history,
            evaluation=work.evaluation,
            weights=work.selection_context.weights,
            exhausted=work.exhausted,
            now_ms=work.now_ms,
            propensities=[] if expected is None else expected.tolist(),
            selection=work.selection,
            eligibility_only=work.role.eligibility_only,
        )
        return {"explanation": explain(situation)}

    def _tried(self, work: Work, selection_context: SelectionContext, key: str) -> DegradedReason | None:
        """Choose with a policy; returns why it cannot or should not be used now, if so, which is noted as well."""
        turns = self._turns.setdefault(key, _Turns())
        reason: DegradedReason | None = None
        if key not in self._roster:
            reason = DegradedReason.POLICY_UNAVAILABLE
        elif self._replica.epoch(key) is None:
            reason = DegradedReason.ARMS_UNAVAILABLE
        elif work.now_ms < turns.paused_until_ms:
            reason = DegradedReason.POLICY_SLOW
        else:
            started = asyncio.get_running_loop().time()
            try:
                self._choose(work, selection_context, key)
            except Exception:
                log.exception("policy %s failed", key)
                reason = DegradedReason.POLICY_FAILED
            else:
                took_ms = (asyncio.get_running_loop().time() - started) * 1000
                self._keep_time(turns, work.now_ms, took_ms)
        if reason is not None:
            work.degrade(reason)
        return reason

    def _choose(self, work: Work, selection_context: SelectionContext, key: str) -> None:
        seen = adjust_weights_for_group(selection_context, work.role.group, self._roster.spec(key))
        prepared = self._replica.prepared(key, selection_context.view, work.now_ms)
        work.selection = select(seen, self._roster[key], prepared)
        work.selection_context = seen

    def _keep_time(self, turns: _Turns, now_ms: int, took_ms: float) -> None:
        slow = took_ms > self._budget_ms
        turns.slow = turns.slow + 1 if slow else 0
        turns.latest = Overrun(took_ms, self._budget_ms, turns.slow) if slow else None
        if turns.slow >= SLOW_TURNS:
            turns.slow = 0
            turns.paused_until_ms = now_ms + SLOW_PAUSE_MS
