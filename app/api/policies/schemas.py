"""Policies, their specifications and their stages, as they travel."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, WithJsonSchema

from app.api.schemas import Body, Id, Text, examples, shown
from decisioning.model.deployment import ControlKind, Stage
from decisioning.policies.store_rows import PolicyChangeKind, PolicyState

_SPEC = {
    "name": "spring",
    "algorithm": "calibrated",
    "description": "trusts the precomputed propensity as far as customers prove it right",
    "reward_window_s": 86_400,
    "learn_since": {"days": 90},
}

PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}(@[1-9][0-9]{0,6})?$")]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, le=2**53)]
Since = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {
                    "type": "object",
                    "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 3660}},
                    "required": ["days"],
                    "additionalProperties": False,
                },
                {"type": "null"},
            ]
        }
    ),
]


class PolicyBody(Body):
    """The specification of a policy: immutable once it is registered; another one is another version."""

    model_config = examples(_SPEC)

    name: PolicyName
    version: int | None = Field(None, ge=1, le=1_000_000, description="the next one if it is left out")
    algorithm: Text
    parameters: dict[str, Any] = Field(default_factory=dict)
    features: list[Any] = Field(default_factory=list, max_length=100, description="see docs/features.md")
    learn_from: Literal["acceptance", "value"] = "acceptance"
    value_scale: float | None = Field(
        None, gt=0, le=1e12, description="learning from value, which needs it: the value that counts as 1"
    )
    reward_window_s: int | None = Field(
        None, ge=1, description="an answer that took longer counts as none; else the placement's window"
    )
    placements: list[Id] = Field(
        default_factory=list, max_length=100, description="where to learn from; everywhere if empty"
    )
    learn_since: Since = Field(
        None,
        description='learn from decisions since then: a date and time, or `{"days": 90}`; all if left out',
    )
    description: Text = ""


class PlacedOut(BaseModel):
    """A placement in which a policy has a stage."""

    placement_id: str
    stage: Stage


class PolicyChangeOut(BaseModel):
    """Who retired or revived a policy, when and why."""

    change: PolicyChangeKind
    author: str
    reason: str
    changed_at: datetime


class PolicyOut(BaseModel):
    """A policy: what it is, and how far it is.

    `folded` of `total` archived outcomes have been read by its warm start. `unusable`: why this process cannot use it.
    `author` and `reason` are of its registration; `changes` tells what came after, newest first. `warnings`: what may
    not be meant, such as a placement to learn from that is not there.
    """

    model_config = shown(
        {
            "policy": "spring@1",
            "name": "spring",
            "version": 1,
            "state": "folding",
            "built_in": False,
            "spec": {"name": "spring", "version": 1, "algorithm": "calibrated"},
            "author": "Dana",
            "reason": "the spring campaign",
            "folded": 12_000,
            "total": 80_000,
            "placements": [{"placement_id": "home", "stage": "shadow"}],
            "changes": [
                {
                    "change": "revived",
                    "author": "Dana",
                    "reason": "the campaign is back",
                    "changed_at": "2026-03-02T08:30:00Z",
                },
                {
                    "change": "retired",
                    "author": "Robin",
                    "reason": "the campaign is over",
                    "changed_at": "2026-02-01T17:00:00Z",
                },
            ],
        }
    )

    policy: str
    name: str
    version: int
    state: PolicyState
    built_in: bool
    spec: dict[str, Any]
    author: str = ""
    reason: str = ""
    created_at: datetime | None = None
    retired_at: datetime | None = None
    folded: int = 0
    total: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    unusable: str | None = None
    placements: list[PlacedOut] = []
    changes: list[PolicyChangeOut] = []
    warnings: list[str] = []


class StageRequest(Body):
    """What a policy becomes in a placement, and why."""

    model_config = examples({"policy": "random@1", "stage": "shadow", "reason": "a floor to compare with"})

    policy: Key = Field(description="`name@version`, or a name with `version` beside it")
    version: int | None = Field(None, ge=1, le=1_000_000)
    stage: Literal["shadow", "canary", "champion", "retired"]
    share: Share | None = Field(None, description="of a canary: its part of the customers; 0.1 if left out")
    force: bool = Field(False, description="skip the stages before")
    reason: Text = ""


class RollbackBody(Body):
    """Why it goes one step back."""

    model_config = examples({"reason": "complaints from the branches"})

    reason: Text = ""


class ControlBody(Body):
    """A standing control group and its share of the customers."""

    kind: ControlKind
    share: Share


class ControlsBody(Body):
    """All standing control groups of a placement."""

    model_config = examples(
        {"controls": [{"kind": "no_levers", "share": 0.01}], "reason": "what levers cost"}
    )

    controls: list[ControlBody] = Field(max_length=4)
    reason: Text = ""


class ApprenticeBody(Body):
    """Whether the caller's own choice is answered, while policies only learn from it."""

    model_config = examples({"on": False})

    on: bool
    reason: Text = ""


class GuardrailsBody(Body):
    """When a canary is rolled back by itself."""

    model_config = examples({"alpha": 0.01, "margin": 0.0})

    alpha: float = Field(0.01, gt=0, lt=0.5, description="level of the always-valid test")
    margin: float = Field(0.0, ge=0, lt=1, description="how much worse, in acceptance, is still let pass")
    max_failure_share: float = Field(0.01, ge=0, le=1)
    min_failures: int = Field(5, ge=1, le=1_000_000)
    horizon_s: int = Field(
        600, ge=1, le=31_536_000, description="what is not accepted by then counts as not accepted"
    )
    reason: Text = ""


class StagedOut(BaseModel):
    """A policy with its stage in a placement: since when, and how far its warm start is."""

    policy: str
    stage: Stage
    share: float | None = None
    since: datetime | None = None
    state: PolicyState
    folded: int = 0
    total: int = 0
    error: str | None = None


class ControlOut(BaseModel):
    """A standing control group."""

    kind: ControlKind
    share: float


class GuardrailsOut(BaseModel):
    """When a canary is rolled back by itself."""

    alpha: float
    margin: float
    max_failure_share: float
    min_failures: int
    horizon_s: int


class StagesOut(BaseModel):
    """The policies of a placement. `before`: the champions that a rollback goes back to, the last one first."""

    model_config = shown(
        {
            "placement_id": "home",
            "champion": "calibrated@1",
            "policies": [
                {"policy": "calibrated@1", "stage": "champion", "state": "live"},
                {"policy": "spring@2", "stage": "canary", "share": 0.1, "state": "live"},
            ],
            "control_share": 0.1,
            "controls": [{"kind": "no_levers", "share": 0.01}],
            "apprentice": False,
            "guardrails": {
                "alpha": 0.01,
                "margin": 0.0,
                "max_failure_share": 0.01,
                "min_failures": 5,
                "horizon_s": 600,
            },
            "before": ["thompson@1"],
        }
    )

    placement_id: str
    champion: str
    policies: list[StagedOut]
    control_share: float
    controls: list[ControlOut]
    apprentice: bool
    guardrails: GuardrailsOut
    before: list[str]
