"""Policies and their specifications, as they travel."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from app.api.schemas import Body, Id, Text, examples, shown
from app.api.values import form, policy_name
from decisioning.model.deployment import Stage
from decisioning.policies.store_rows import PolicyChangeKind, PolicyState

_SPEC = {
    "name": "spring",
    "algorithm": "calibrated",
    "description": "trusts the precomputed propensity as far as customers prove it right",
    "reward_window_s": 86_400,
    "learn_since": {"days": 90},
}

PolicyName = Annotated[str, form(r"^[a-z][a-z0-9_-]{0,63}$", policy_name)]
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
    features: Annotated[list[Any], Field(max_length=100)] | Literal["auto"] = Field(
        default_factory=list,
        description="see docs/features.md; `auto`: chosen now, of the vocabulary and of what keeps coming",
    )
    auto: bool = Field(False, description="the features listed were chosen by `auto`")
    learn_from: Literal["acceptance", "value", "earned"] = "acceptance"
    value_scale: float | None = Field(
        None,
        gt=0,
        le=1e12,
        description="learning from value or earned, which need it: the value that counts as 1",
    )
    loss_scale: float | None = Field(
        None, ge=0, le=1e12, description="learning from earned: the loss that counts as 0; none if left out"
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
    propensity_source: Text | None = Field(
        None,
        description="a policy of the algorithm `onnx`, as name@version: its model's propensities stand in the place of"
        " the precomputed ones",
    )


class PlacedOut(BaseModel):
    """A placement in which a policy has a stage."""

    placement_id: str
    stage: Stage


class PolicyChangeOut(BaseModel):
    """A policy's retirement or return: by whom, when and why."""

    change: PolicyChangeKind
    author: str
    reason: str
    changed_at: datetime


class PolicyOut(BaseModel):
    """A policy: what it is, and how far it is.

    `folded` of `total` archived outcomes have been read by its warm start, or by a folding anew since; each pass of a
    logistic regression reads all once more. `unusable`: why this process cannot use it.
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
