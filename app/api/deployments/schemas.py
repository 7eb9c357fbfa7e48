"""The stages of policies in a placement, as they travel."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.api.schemas import Body, Text, examples, shown
from app.api.values import form, policy_maybe_version
from decisioning.model.deployment import ControlKind, Stage
from decisioning.policies.store_rows import PolicyState

Key = Annotated[str, form(r"^[a-z][a-z0-9_-]{0,63}(@[1-9][0-9]{0,6})?$", policy_maybe_version)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class StageRequest(Body):
    """The new stage of a policy in a placement, and the reason."""

    model_config = examples({"policy": "random@1", "stage": "shadow", "reason": "a floor to compare with"})

    policy: Key = Field(description="`name@version`, or a name with `version` beside it")
    version: int | None = Field(None, ge=1, le=1_000_000)
    stage: Literal["shadow", "canary", "champion", "retired"]
    share: Share | None = Field(None, description="of a canary: its part of the customers; 0.1 if left out")
    force: bool = Field(False, description="skip the stages before")
    reason: Text = ""


class RollbackBody(Body):
    """The reason for going one step back."""

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
    """Switches the mode in which the caller's own choice is answered, while policies only learn from it."""

    model_config = examples({"on": False})

    on: bool
    reason: Text = ""


class GuardrailsBody(Body):
    """The conditions on which a canary is rolled back by itself."""

    model_config = examples({"alpha": 0.01, "margin": 0.0})

    alpha: float = Field(0.01, gt=0, lt=0.5, description="level of the always-valid test")
    margin: float = Field(0.0, ge=0, lt=1, description="how much worse, in acceptance, is still let pass")
    max_failure_share: float = Field(0.01, ge=0, le=1)
    min_failures: int = Field(5, ge=1, le=1_000_000)
    horizon_s: int = Field(
        600, ge=1, le=31_536_000, description="what is not accepted by then counts as not accepted"
    )
    reason: Text = ""


class AutopilotBody(Body):
    """Switches the autopilot on, with these settings, or changes them while it is on."""

    model_config = examples({"canary_share": 0.2, "reason": "we have no time to compare policies by hand"})

    canary_share: Share = Field(
        0.2, description="part of the customers that a candidate decides for as a canary"
    )
    min_shadowed: int = Field(
        200, ge=1, le=1_000_000, description="decisions that a candidate is asked about in the shadow first"
    )
    min_days: float = Field(1.0, ge=0, le=365, description="no canary is promoted before so many days")
    max_days: float = Field(
        14.0, gt=0, le=365, description="a shadow, or a canary, that nothing is known of by then is ended"
    )
    max_customers: int = Field(
        100_000,
        ge=1,
        le=1_000_000_000,
        description="so is a canary when so many customers of both sides are counted",
    )
    pause_days: float = Field(30.0, ge=0, le=3650, description="a candidate has no other turn for so long")
    reason: Text = ""


class TurnOut(BaseModel):
    """The candidate that the autopilot is trying out: its stage, since when, against which champion."""

    policy: str
    stage: Literal["shadow", "canary"]
    since: datetime
    champion: str
    share: float | None = None


class AutopilotOut(BaseModel):
    """An autopilot that is on. `tried`: when the last turn of each candidate ended."""

    canary_share: float
    min_shadowed: int
    min_days: float
    max_days: float
    max_customers: int
    pause_days: float
    turn: TurnOut | None = None
    tried: dict[str, datetime] = {}


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
    """The conditions on which a canary is rolled back by itself."""

    alpha: float
    margin: float
    max_failure_share: float
    min_failures: int
    horizon_s: int


class StagesOut(BaseModel):
    """The policies of a placement. `before`: the champions that a rollback goes back to, the last one first.

    `autopilot` is null while it is off.
    """

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
            "guardrails": GuardrailsBody().model_dump(exclude={"reason"}),
            "before": ["thompson@1"],
            "autopilot": None,
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
    autopilot: AutopilotOut | None = None
