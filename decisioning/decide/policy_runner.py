"""Experiment groups, hold-outs, and policies: assigning customers, and running a policy.

Groups are champion, canary, controls, and the caller's own choice. A placement's fallback policy stands in for one that
fails, is slow, or has no arms yet.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

import numpy as np

from bandits.policy import Policy, PolicyKey, PolicySpec
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.ranking import SelectionContext, select
from decisioning.holdouts.holdout import Holdout
from decisioning.learning.replica import ArmReplica
from decisioning.model.decision import LoggedPolicy, Overrun, PolicyFailure
from decisioning.model.degraded import DegradedReason
from decisioning.model.deployment import CONTROL_POLICIES, ControlKind, Deployment
from decisioning.model.selection import Selection
from decisioning.policies.roster import Roster
from storage.failures import FailureLog

Group = Literal["champion", "canary", "control", "caller"] | ControlKind


@dataclass(frozen=True, slots=True)
class Assignment:
    """The policy that decides (``name@version``), and as part of which group.

    ``control``: the group is there to compare others with.
    """

    policy: str
    group: Group

    @property
    def control(self) -> bool:
        """True for control groups."""
        return self.group not in ("champion", "canary", "caller")

    @property
    def eligibility_only(self) -> bool:
        """True if eligibility is the only tier of rules that counts."""
        return self.group == "eligibility_only"


def assign(customer_id: str, view: PlacementView, deployment: Deployment | None) -> Assignment:
    """Assign the customer to an experiment group. Sticky: it depends on the customer and the placement's salt alone.

    Groups take their shares of one fixed order of the customers: controls from its beginning, the canary from its end.
    So a growing canary keeps its customers, and none of the controls'.
    """
    placement, champion = view.placement, view.champion
    at = _position_in_order(customer_id, placement.experiment_salt or placement.placement_id)
    if at < placement.control_share:
        return Assignment(PolicyKey.of(placement.control_policy, 1), "control")
    if deployment is None:
        return Assignment(champion, "champion")
    end = placement.control_share
    for control in deployment.controls:
        end += control.share
        if at < end:
            return Assignment(CONTROL_POLICIES.get(control.kind, champion), control.kind)
    if deployment.canary is not None and at >= 1.0 - deployment.canary.share:
        return Assignment(deployment.canary.policy, "canary")
    return Assignment(champion, "caller" if deployment.apprentice else "champion")


def assign_holdouts(customer_id: str, holdouts: Iterable[Holdout], now_ms: int) -> tuple[str, ...]:
    """Return the ids of the hold-outs in force that the customer is in.

    Sticky, and the same in every placement: each hold-out takes its share from the beginning of an order of its own, so
    one that grows keeps its customers, and none depends on another, or on experiment groups.
    """
    # No id has a slash, so no placement's salt makes the same order.
    return tuple(
        holdout.holdout_id
        for holdout in holdouts
        if holdout.is_in_force(now_ms)
        and _position_in_order(customer_id, f"holdout/{holdout.holdout_id}") < holdout.share
    )


def _position_in_order(customer_id: str, salt: str) -> float:
    """Hash a customer to a position in the salt's fixed order of all customers: in [0, 1)."""
    digest = blake2b(f"{salt}/{customer_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def adjust_weights_for_group(context: SelectionContext, group: str, spec: PolicySpec) -> SelectionContext:
    """Adjust the weights of a selection for a group and a policy.

    Without levers, ``L`` is 1. For a policy that learns from worth, what it expects is money already, so ``V`` is the
    same for all: the amount that its propensities are shares of.
    """
    weights = context.weights
    if group == "no_levers":
        weights = replace(weights, L=np.ones(len(weights.L)))
    if spec.learn_from != "acceptance" and "V" not in context.view.placement.off:
        weights = replace(weights, V=np.full(len(weights.V), spec.worth_scale))
    return context if weights is context.weights else replace(context, weights=weights)


log = logging.getLogger(__name__)

MAX_SLOW_RUNS = 3
"""After so many slow decisions in a row a policy is paused, so that it cannot hold up every request."""
SLOW_PAUSE_MS = 1000


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """A selection, by ``policy``, with its arms at ``epoch``.

    ``context``: what was selected from, as that policy saw it. ``failed``: the policy that should have decided (or
    scored), and the reason why it did not. ``over_budget``: it did, but late.
    """

    selection: Selection
    context: SelectionContext
    policy: LoggedPolicy
    epoch: int
    failed: PolicyFailure | None = None
    over_budget: Overrun | None = None


@dataclass(slots=True)
class _Running:
    """A policy with the time that it has kept lately. ``latest``: its last overrun, if its last run was one."""

    policy: Policy
    spec: PolicySpec
    logged: LoggedPolicy
    slow: int = 0
    latest: Overrun | None = None
    paused_until_ms: int = 0


class PolicyRunner:
    """Runs policies, and keeps them to their time."""

    def __init__(self, replica: ArmReplica, roster: Roster, budget_ms: float) -> None:
        self._replica = replica
        self._roster = roster
        self._budget_ms = budget_ms
        self._running: dict[str, _Running] = {}
        self._failures = FailureLog(log)

    def run(self, assignment: Assignment, context: SelectionContext) -> PolicyResult:
        """Select with the policy of the customer's group, or with the placement's fallback if that fails.

        Where the caller's own choice is answered they only score it: it is answered whichever of them does.
        """
        key, group = assignment.policy, assignment.group
        running = self._find(key)
        reason = self._reason_against(assignment, context, running)
        if running is not None and reason is None:
            started = asyncio.get_running_loop().time()
            try:
                result = self._select(key, running, group, context)
            except Exception as error:
                # A policy may be anybody's code: whatever it raises, the customer gets an answer.
                self._failures.note(
                    key,
                    "policy %s failed",
                    key,
                    level=logging.ERROR,
                    error=error,
                    with_traceback=True,
                )
                reason = DegradedReason.POLICY_FAILED
            else:
                took_ms = (asyncio.get_running_loop().time() - started) * 1000
                if took_ms <= self._budget_ms:
                    running.slow, running.latest = 0, None
                    return result
                return self._note_overrun(result, running, took_ms)
        fallback = PolicyKey.of(context.view.placement.fallback_policy, 1)
        standby = self._find(fallback)
        if standby is None:  # fallbacks are built-in policies, which every roster has
            raise KeyError(fallback)
        result = self._select(fallback, standby, group, context)
        return replace(result, failed=PolicyFailure(key, reason or DegradedReason.POLICY_UNAVAILABLE))

    def _find(self, key: str) -> _Running | None:
        """Find a policy; what the roster has once stays as it is, so it is looked up there only once."""
        running = self._running.get(key)
        if running is None and key in self._roster:
            running = self._running[key] = _Running(
                self._roster[key], self._roster.spec(key), LoggedPolicy.of(key)
            )
        return running

    def _reason_against(
        self, assignment: Assignment, context: SelectionContext, running: _Running | None
    ) -> DegradedReason | None:
        """Tell why the assigned policy cannot or should not be used now; ``None`` if it can."""
        if assignment.group == "caller" and context.caller_choice is None:
            return DegradedReason.BASELINE_MISSING
        if running is None:
            return DegradedReason.POLICY_UNAVAILABLE
        if self._replica.epoch(assignment.policy) is None:
            return DegradedReason.ARMS_UNAVAILABLE
        return DegradedReason.POLICY_SLOW if context.now_ms < running.paused_until_ms else None

    def _select(self, key: str, running: _Running, group: str, context: SelectionContext) -> PolicyResult:
        adjusted = adjust_weights_for_group(context, group, running.spec)
        # The epoch belongs to what is prepared: both are read without a pause in between.
        prepared = self._replica.prepared(key, context.view, context.now_ms)
        selection = select(adjusted, running.policy, prepared)
        return PolicyResult(selection, adjusted, running.logged, self._replica.epoch(key) or 0)

    def _note_overrun(self, result: PolicyResult, running: _Running, took_ms: float) -> PolicyResult:
        running.slow += 1
        overrun = running.latest = Overrun(took_ms, self._budget_ms, running.slow)
        if running.slow >= MAX_SLOW_RUNS:
            running.slow = 0
            running.paused_until_ms = result.context.now_ms + SLOW_PAUSE_MS
        return replace(result, over_budget=overrun)
