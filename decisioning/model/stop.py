"""Stops: why an offer was not chosen, in one vocabulary for all stages."""

from dataclasses import dataclass
from typing import Any, Literal

StageName = Literal[
    "status",
    "channel",
    "dates",
    "holdout",
    "placement",
    "eligibility",
    "applicability",
    "suitability",
    "consent",
    "suppression",
    "quiet_hours",
    "signal",
    "contact",
    "exclusion",
    "capacity",
    "propensity",
    "arbitration",
]


@dataclass(frozen=True, slots=True)
class Stop:
    """The stage and the rule or limit, by name, that stopped an offer; what was observed against what was required.

    ``allowed_again_ms``: when it would become allowed again if nothing else happens (Unix ms), if that is known.
    ``inherited_from``: the group or goal whose rule or limit it is, such as ``group cards``; ``None`` for others.
    """

    stage: StageName
    name: str
    observed: Any = None
    required: Any = None
    allowed_again_ms: int | None = None
    inherited_from: str | None = None
