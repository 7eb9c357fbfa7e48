"""The policies of a placement, and the shares of its customers that they decide for. Plain immutable values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bandits.policy import PolicyKey
from decisioning.errors import Invalid
from decisioning.model.entities import Placement

ControlKind = Literal["random", "propensity", "no_levers", "eligibility_only"]
CONTROL_POLICIES: Mapping[ControlKind, str] = {
    "random": PolicyKey("random@1"),
    "propensity": PolicyKey("propensity@1"),
}
"""The policies of the groups that do not decide with the champion."""
Stage = Literal["registered", "shadow", "canary", "champion", "retired"]


@dataclass(frozen=True, slots=True)
class Canary:
    """A policy that decides for a sticky ``share`` of the customers, since ``since_ms`` (Unix ms)."""

    policy: str
    share: float
    since_ms: int


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A standing share of the customers who are decided for in a simpler way, to measure what the rest is worth.

    ``random``: any of what is eligible and allowed. ``propensity``: by the precomputed propensities. ``no_levers``:
    as everybody, with ``L`` taken as 1. ``eligibility_only``: as everybody, but of an offer's rules only eligibility
    counts (consent, contact policy and capacity always do).
    """

    kind: ControlKind
    share: float


@dataclass(frozen=True, slots=True)
class Guardrails:
    """The bounds beyond which a canary is rolled back automatically.

    It is worse than the champion by more than ``margin`` (in acceptance) with an always-valid test at level ``alpha``;
    or at least ``min_failures`` of its decisions could not be made by it because it raised an error, and their share
    exceeds the champion's by more than ``max_failure_share`` with such a test; or because it was slower than its
    budget. What is not accepted ``horizon_s`` after the decision counts as not accepted.
    """

    alpha: float = 0.01
    margin: float = 0.0
    max_failure_share: float = 0.01
    min_failures: int = 5
    horizon_s: int = 600


@dataclass(frozen=True, slots=True)
class AutopilotTurn:
    """The turn of a candidate of the autopilot: its stage, since when (Unix ms), and the champion at its start.

    ``share``: of the customers, while it is a canary. What is not as the turn says any more, somebody else has changed.
    """

    policy: str
    stage: Literal["shadow", "canary"]
    since_ms: int
    champion: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Autopilot:
    """Settings of a placement's autopilot, and how far it is.

    A candidate becomes a canary for ``canary_share`` of the customers after ``min_shadowed`` decisions in the shadow.
    It is promoted after ``min_days`` at the earliest, and ended undecided after ``max_days``, or when
    ``max_customers`` of it and of the champion are counted. It has no other turn for ``pause_days``. ``tried``: when
    (Unix ms) the last turn of a candidate ended, by its name.
    """

    canary_share: float = 0.2
    min_shadowed: int = 200
    min_days: float = 1.0
    max_days: float = 14.0
    max_customers: int = 100_000
    pause_days: float = 30.0
    turn: AutopilotTurn | None = None
    tried: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployment:
    """The policies of a placement. Where there is none, the placement's own ``policy`` decides, at version 1.

    ``champion``, ``shadows``: policies as ``name@version``. ``apprentice``: the caller's own choice is returned, and
    the champion only learns from it. ``was``: policies that had a part before, the last one first: champions, canaries
    that were ended, shadows that were retired.
    ``before``: the champions that a rollback goes back to, the last one first. ``since``: since when (Unix ms) policies
    have had their stage. ``autopilot``: ``None`` while it is off.
    """

    placement_id: str
    champion: str | None = None
    canary: Canary | None = None
    shadows: tuple[str, ...] = ()
    controls: tuple[ControlGroup, ...] = ()
    apprentice: bool = False
    guardrails: Guardrails = field(default_factory=Guardrails)
    was: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    since: Mapping[str, int] = field(default_factory=dict)
    autopilot: Autopilot | None = None

    @property
    def policies(self) -> frozenset[str]:
        """All policies that have a part in it now."""
        canary = () if self.canary is None else (self.canary.policy,)
        champion = () if self.champion is None else (self.champion,)
        return frozenset((*champion, *canary, *self.shadows))


def champion_of(placement: Placement, deployment: Deployment | None) -> str:
    """Return the policy that decides unless another has a share, as ``name@version``."""
    if deployment is None or deployment.champion is None:
        return PolicyKey.of(placement.policy, 1)
    return deployment.champion


def check_shares(placement: Placement, deployment: Deployment, field: str) -> None:
    """Raise ``Invalid`` for ``field`` if more customers are given away than there are."""
    controls = sum(control.share for control in deployment.controls)
    canary = 0.0 if deployment.canary is None else deployment.canary.share
    # Shares are decimal fractions, whose sum may be rounded up.
    if placement.control_share + controls + canary > 1.0 + 1e-9:
        raise Invalid(
            field,
            f"the shares of {placement.placement_id!r} would be more than 1 together: control_share"
            f" {placement.control_share:g}, control groups {controls:g}, canary {canary:g}",
        )
