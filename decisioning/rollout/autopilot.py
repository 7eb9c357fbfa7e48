"""The autopilot of a placement: what it does next, and why. Pure: a situation in, at most one step out.

Candidates have their turns one after the other: shadow, canary, and then champion, or nothing. The always-valid test
that guards canaries decides, in both directions. What people change wins: the turn that it concerns is over.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from bandits.features import Feature
from bandits.policy import PolicyKey, PolicySpec
from decisioning.errors import Invalid
from decisioning.model.deployment import Autopilot, AutopilotTurn, Deployment, champion_of
from decisioning.model.entities import Placement
from decisioning.policies.store_rows import PolicyState
from decisioning.rollout.autopilot_turns import check_free_share, has_own_canary, has_own_shadow
from decisioning.rollout.defaults import DEFAULT_NAME, new_version_reason, uses_default
from decisioning.rollout.guardrail import Cause, GroupCounts, evidence_of_better, figures

DAY_MS = 86_400_000
Action = Literal["shadow", "canary", "promote", "end"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that the autopilot tries out, under a name of its own, with features that are chosen by themselves."""

    name: str
    algorithm: str
    parameters: Mapping[str, Any]

    def spec(self, features: tuple[Feature, ...]) -> PolicySpec:
        """Specify its first version with these features."""
        return PolicySpec(
            self.name,
            1,
            self.algorithm,
            self.parameters,
            features=features,
            description="a candidate of the autopilot",
            auto=True,
        )


CANDIDATES = (
    Candidate("auto-calibrated", "calibrated", {}),
    Candidate("auto-calibrated-day", "calibrated", {"half_life_days": 1.0}),
    Candidate("auto-squarecb", "squarecb", {}),
    Candidate("auto-lin_ucb", "lin_ucb", {}),
)
"""The candidates, in the order of their turns."""


@dataclass(frozen=True, slots=True)
class CanaryCounts:
    """Counts of the newest stage of a candidate's canary; ``cause`` and ``reason``: of its end, if it has ended."""

    canary: GroupCounts = field(default_factory=GroupCounts)
    others: GroupCounts = field(default_factory=GroupCounts)
    cause: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PlacementSituation:
    """A placement as it is known when a step is due.

    ``state``: of the policy whose turn it is. ``shadowed``: decisions that it was asked about as a shadow in this turn,
    ``failed``: those in which it failed. ``counts``: of its canary. Where it is nobody's turn, ``due``: specifications
    of the candidates that may have one, in order; ``champion_spec``: the champion's, where it is known.
    """

    placement: Placement
    deployment: Deployment
    now_ms: int
    state: PolicyState | None = None
    shadowed: int = 0
    failed: int = 0
    counts: CanaryCounts = field(default_factory=CanaryCounts)
    due: tuple[PolicySpec, ...] = ()
    champion_spec: PolicySpec | None = None

    @property
    def champion(self) -> str:
        """The policy that decides, as ``name@version``."""
        return champion_of(self.placement, self.deployment)


@dataclass(frozen=True, slots=True)
class Step:
    """One step, with the reason in words. ``spec``: the candidate that is to be registered, and becomes a shadow."""

    action: Action
    reason: str
    spec: PolicySpec | None = None


def due_candidates(pilot: Autopilot, now_ms: int) -> tuple[Candidate, ...]:
    """List the candidates that had no turn yet, or none for ``pause_days``."""
    since_ms = now_ms - pilot.pause_days * DAY_MS
    return tuple(c for c in CANDIDATES if c.name not in pilot.tried or pilot.tried[c.name] <= since_ms)


def may_begin(placement: Placement, deployment: Deployment) -> bool:
    """Return whether a turn may begin: the autopilot is on and idle, and nothing that people do is in its way."""
    pilot = deployment.autopilot
    if pilot is None or pilot.turn is not None or deployment.apprentice or deployment.canary is not None:
        return False
    return _has_free_share(placement, deployment, pilot)


def next_step(now: PlacementSituation) -> Step | None:
    """Find what the autopilot does next; ``None``: it waits, or is off."""
    pilot = now.deployment.autopilot
    if pilot is None:
        return None
    if pilot.turn is None:
        return _begin(now)
    turn = pilot.turn
    if (why := _disturbed(now, turn)) is not None:
        return _end(turn, why)
    if turn.stage == "shadow":
        return _after_shadow(now, pilot, turn)
    return _after_canary(now, pilot, turn)


def _begin(now: PlacementSituation) -> Step | None:
    if not may_begin(now.placement, now.deployment):
        return None
    for spec in now.due:
        if _is_new_here(now, spec):
            with_parameters = "".join(f", {name} {value}" for name, value in spec.parameters.items())
            reason = (
                f"autopilot: {spec.name} ({spec.algorithm}{with_parameters}) is tried out against"
                f" {now.champion}, as a shadow first"
            )
            return Step("shadow", reason, spec)
    return None


def _is_new_here(now: PlacementSituation, spec: PolicySpec) -> bool:
    """Return whether a candidate is something else than what has a part here already."""
    parts = now.deployment.shadows
    if any(PolicyKey(key).name == spec.name for key in parts):
        return False
    champion = now.champion_spec
    if champion is None or not _is_alike(champion, spec):
        return True
    # The default gets its features from its keeper.
    return not uses_default(now.placement, now.deployment) and not serves_as(champion, spec)


def serves_as(there: PolicySpec, spec: PolicySpec) -> bool:
    """Return whether a policy does what ``spec`` would: the same, but for ranges and values that moved a little."""
    return _is_alike(there, spec) and new_version_reason(there.features, spec.features) is None


def _is_alike(there: PolicySpec, spec: PolicySpec) -> bool:
    """Return whether two policies differ by their features alone."""
    return (there.algorithm, dict(there.parameters)) == (spec.algorithm, dict(spec.parameters))


def _disturbed(now: PlacementSituation, turn: AutopilotTurn) -> str | None:
    """Say in words why a turn cannot go on; ``None`` if all is as it was left."""
    deployment = now.deployment
    if deployment.apprentice:
        return "the caller's own choice is answered now"
    if now.champion == turn.policy:
        return "it was made the champion by hand"
    if now.champion != turn.champion and not _is_newer_default(turn.champion, now.champion):
        return f"{now.champion} was made the champion by hand"
    if turn.stage == "shadow":
        if deployment.canary is not None:
            return f"{deployment.canary.policy} was made a canary by hand"
        return None if has_own_shadow(deployment, turn) else "its stage was changed by hand"
    if has_own_canary(deployment, turn):
        return None
    if deployment.canary is None and now.counts.cause in get_args(Cause):
        return f"the guardrails took it back: {now.counts.reason}"
    return "its stage or its share was changed by hand"


def _is_newer_default(before: str, after: str) -> bool:
    """Return whether the default was only brought up to date, which is not done by hand."""
    was, now = PolicyKey(before), PolicyKey(after)
    return was.name == now.name == DEFAULT_NAME and now.version > was.version


def _after_shadow(now: PlacementSituation, pilot: Autopilot, turn: AutopilotTurn) -> Step | None:
    if now.shadowed >= pilot.min_shadowed and now.state == "live":
        allowed = now.deployment.guardrails.max_failure_share
        if now.failed > allowed * now.shadowed:
            return _end(turn, f"as a shadow it failed in {now.failed:,} of {now.shadowed:,} decisions")
        # The share was given away meanwhile: it waits until it is free again, or the time is over.
        if _has_free_share(now.placement, now.deployment, pilot):
            reason = (
                f"autopilot: {turn.policy} decides for {100 * pilot.canary_share:.3g} % of the customers:"
                f" as a shadow it failed in {now.failed:,} of {now.shadowed:,} decisions"
            )
            return Step("canary", reason)
    if _is_over(now, pilot, turn):
        days = f"{pilot.max_days:g} days"
        return _end(
            turn, f"after {days} it is {now.state}, with {now.shadowed:,} decisions of {pilot.min_shadowed:,}"
        )
    return None


def _after_canary(now: PlacementSituation, pilot: Autopilot, turn: AutopilotTurn) -> Step | None:
    guardrails, canary, others = now.deployment.guardrails, now.counts.canary, now.counts.others
    better = evidence_of_better(canary, others, guardrails)
    waited = now.now_ms >= turn.since_ms + pilot.min_days * DAY_MS
    if better.rejected and waited and now.state == "live":
        reason = (
            f"autopilot: {turn.policy} becomes the champion: it is better than {turn.champion}:"
            f" {figures(canary, others, guardrails)}; e-value {better.e_value:.3g},"
            f" needed {1 / guardrails.alpha:.3g} (alpha {guardrails.alpha:g})"
        )
        return Step("promote", reason)
    counted = canary.observations + others.observations
    if _is_over(now, pilot, turn) or (waited and counted >= pilot.max_customers):
        days = (now.now_ms - turn.since_ms) / DAY_MS
        return _end(
            turn,
            f"after {days:.3g} days and {counted:,} customers it is not known to be better:"
            f" {figures(canary, others, guardrails)}",
        )
    return None


def _is_over(now: PlacementSituation, pilot: Autopilot, turn: AutopilotTurn) -> bool:
    return now.now_ms >= turn.since_ms + pilot.max_days * DAY_MS


def _end(turn: AutopilotTurn, why: str) -> Step:
    return Step("end", f"autopilot: the turn of {turn.policy} is over: {why}")


def _has_free_share(placement: Placement, deployment: Deployment, pilot: Autopilot) -> bool:
    try:
        check_free_share(placement, deployment, pilot)
    except Invalid:
        return False
    return True
