"""Running policies: a placement's own, or its fallback when that fails, is slow, or has no arms yet."""

import asyncio
import logging
from dataclasses import dataclass, replace

from bandits.policy import PolicyKey
from decisioning.decide.assignment import Assignment, adjust_weights_for_group
from decisioning.decide.ranking import SelectionContext, select
from decisioning.learning.replica import ArmReplica
from decisioning.model.decision import Overrun, PolicyFailure
from decisioning.model.degraded import DegradedReason
from decisioning.model.selection import Selection
from decisioning.policies.roster import Roster

log = logging.getLogger(__name__)

MAX_SLOW_RUNS = 3
"""After so many slow decisions in a row a policy is paused, so that it cannot hold up every request."""
SLOW_PAUSE_MS = 1000


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """A selection, by the policy ``key`` (``name@version``), with its arms at ``epoch``.

    ``context``: what was selected from, as that policy saw it. ``failed``: the policy that should have decided (or
    scored), and the reason why it did not. ``over_budget``: it did, but late.
    """

    selection: Selection
    context: SelectionContext
    key: str
    epoch: int
    failed: PolicyFailure | None = None
    over_budget: Overrun | None = None


@dataclass(slots=True)
class _Timing:
    """The time that a policy has kept lately. ``latest``: its last overrun, if its last run was one."""

    slow: int = 0
    latest: Overrun | None = None
    paused_until_ms: int = 0


class PolicyRunner:
    """Runs policies, and keeps them to their time."""

    def __init__(self, replica: ArmReplica, roster: Roster, budget_ms: float) -> None:
        self._replica = replica
        self._roster = roster
        self._budget_ms = budget_ms
        self._timings: dict[str, _Timing] = {}

    def run(self, assignment: Assignment, context: SelectionContext) -> PolicyResult:
        """Select with the policy of the customer's group, or with the placement's fallback if that fails.

        Where the caller's own choice is answered they only score it: it is answered whichever of them does.
        """
        key, group = assignment.policy, assignment.group
        timing = self._timings.get(key)
        if timing is None:
            timing = self._timings[key] = _Timing()
        reason = self._reason_against(assignment, context, timing)
        if reason is None:
            started = asyncio.get_running_loop().time()
            try:
                result = self._select(key, group, context)
            except Exception:
                # A policy may be anybody's code: whatever it raises, the customer gets an answer.
                log.exception("policy %s failed", key)
                reason = DegradedReason.POLICY_FAILED
            else:
                took_ms = (asyncio.get_running_loop().time() - started) * 1000
                if took_ms <= self._budget_ms:
                    timing.slow, timing.latest = 0, None
                    return result
                return self._note_overrun(result, timing, took_ms)
        fallback = self._select(PolicyKey.of(context.view.placement.fallback_policy, 1), group, context)
        return replace(fallback, failed=PolicyFailure(key, reason))

    def _reason_against(
        self, assignment: Assignment, context: SelectionContext, timing: _Timing
    ) -> DegradedReason | None:
        """Tell why the assigned policy cannot or should not be used now; ``None`` if it can."""
        if assignment.group == "caller" and context.caller_choice is None:
            return DegradedReason.BASELINE_MISSING
        if assignment.policy not in self._roster:
            return DegradedReason.POLICY_UNAVAILABLE
        if self._replica.epoch(assignment.policy) is None:
            return DegradedReason.ARMS_UNAVAILABLE
        return DegradedReason.POLICY_SLOW if context.now_ms < timing.paused_until_ms else None

    def _select(self, key: str, group: str, context: SelectionContext) -> PolicyResult:
        adjusted = adjust_weights_for_group(context, group, self._roster.spec(key))
        # The epoch belongs to what is prepared: both are read without a pause in between.
        prepared = self._replica.prepared(key, context.view, context.now_ms)
        selection = select(adjusted, self._roster[key], prepared)
        return PolicyResult(selection, adjusted, key, self._replica.epoch(key) or 0)

    def _note_overrun(self, result: PolicyResult, timing: _Timing, took_ms: float) -> PolicyResult:
        timing.slow += 1
        overrun = timing.latest = Overrun(took_ms, self._budget_ms, timing.slow)
        if timing.slow >= MAX_SLOW_RUNS:
            timing.slow = 0
            timing.paused_until_ms = result.context.now_ms + SLOW_PAUSE_MS
        return replace(result, over_budget=overrun)
