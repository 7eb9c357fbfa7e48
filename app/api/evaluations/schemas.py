"""Evaluations and comparisons of policies, as they travel."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from app.api.schemas import Body, Id, Instant, Parameters, after, examples, shown
from app.api.values import form, policy_key

PolicyKey = Annotated[str, form(r"^[a-z][a-z0-9_-]{0,63}@[1-9][0-9]{0,6}$", policy_key)]
Slots = Literal["first", "all"]
MAX_DECISIONS = 200_000
MAX_LISTED = 100

_EARNED = {"value": 0.1, "low": 0.09, "high": 0.11}
_INTERVAL = {"value": 0.12, "low": 0.10, "high": 0.14}
_ESTIMATES = {
    "rows": 5000,
    "effective_rows": 1240.0,
    "earned": _EARNED,
    "ips": _INTERVAL,
    "snips": _INTERVAL,
    "dr": _INTERVAL,
    "lift": {"value": 0.02, "low": 0.005, "high": 0.035},
    "mean_weight": 0.99,
    "largest_weight": 18.0,
    "agreement": 0.62,
    "same_choice": 0.58,
}
_LEFT_OUT = {"reason": "unobserved", "slots": 40, "meaning": "nobody confirmed in time that it was presented"}
_WINDOW = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-08T00:00:00Z"}
_RESULT = _WINDOW | {
    "policy": "spring",
    "version": 2,
    "placement": "home",
    "start": "cold",
    "slots": "first",
    "reward": "acceptance",
    "decisions": 5040,
    "open": 120,
    "imported": 20_000,
    "learned": 5000,
    "us_per_decision": 85.0,
    "left_out": [_LEFT_OUT],
    "estimates": _ESTIMATES,
    "logged": [{"group": "champion", "policy": "calibrated@1", "slots": 5000, "earned": _EARNED}],
    "warnings": [],
}
_PROGRESS = {
    "evaluation_id": "ev-6f1d0c9b7e2f4f0a",
    "policy": "spring@2",
    "algorithm": None,
    "placement": "home",
    "state": "done",
    "asked_at": "2026-03-08T09:00:00Z",
    "asked_by": "ann",
    "seen": 5040,
    "total": 5040,
    "error": None,
}

_DECIDING = {
    "group": "champion",
    "policy": "calibrated@1",
    "decisions": 4500,
    "failures": 0,
    "shown": 4500,
    "open": 100,
    "observed": 4400,
    "accepted": 440.0,
    "acceptance": {"value": 0.1, "low": 0.0915, "high": 0.1092},
}
_SHADOW = {
    "policy": "spring@2",
    "role": "shadow",
    "decisions": 5040,
    "judged": 5040,
    "agreement": 0.62,
    "left_out": [_LEFT_OUT],
    "failures": [],
    "mean_us": 90.0,
    "p95_us": 140.0,
    "estimates": _ESTIMATES,
    "warnings": [],
}


class EvaluationBody(Body):
    """An evaluation of a policy: what it would have earned in logged decisions. Say either `policy` or `spec`."""

    model_config = examples(
        {"policy": "thompson@1", "placement": "home", "limit": 5000},
        {
            "spec": {"algorithm": "thompson", "parameters": {"epsilon": 0.1}},
            "placement": "home",
            "start": "warm",
        },
    )

    policy: PolicyKey | None = Field(None, description="a policy that is known here, as name@version")
    spec: dict[str, Any] | None = Field(None, description="any specification; it need not be registered")
    placement: Id
    since: Instant | None = Field(None, alias="from", description="decisions from then on")
    until: Annotated[Instant | None, after("since", "from")] = Field(
        None, alias="to", description="decisions before then"
    )
    limit: int = Field(
        20_000, ge=1, le=MAX_DECISIONS, description="the newest so many decisions whose window is closed"
    )
    slots: Slots = Field(
        "first", description="`all`: later slots as well, each given what the earlier ones took"
    )
    reward: Literal["acceptance", "value"] = "acceptance"
    start: Literal["cold", "warm"] = Field(
        "cold", description="`warm`: the policy has learned from all that was logged before"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.policy is None) == (self.spec is None):
            raise ValueError("say either policy (name@version) or spec (a specification)")
        return self


class IntervalOut(BaseModel):
    """A mean with its 95 % interval; null where it is not known."""

    value: float | None
    low: float | None
    high: float | None


class EstimateOut(IntervalOut):
    """An estimate with its 95 % interval, which holds for few effective rows as well, or the reason for none."""

    reason: str | None = Field(
        None,
        description="why there is no interval, or why the value lies outside of what is possible and the interval is "
        "cut, and what would help; else null",
    )


class LeftOutOut(BaseModel):
    """Slots that could not be used, and why."""

    reason: str
    slots: int
    meaning: str


class EstimatesOut(BaseModel):
    """The reward a policy would have earned in each slot, by three estimators, next to what the same slots earned."""

    rows: int = Field(description="slots that were used")
    effective_rows: float = Field(description="equally weighted rows that would tell as much")
    earned: EstimateOut = Field(description="what was earned, by whatever policy decided")
    ips: EstimateOut = Field(description="inverse propensity score")
    snips: EstimateOut = Field(description="self-normalised inverse propensity score")
    dr: EstimateOut = Field(description="doubly robust; the reward model is the policy's own")
    lift: EstimateOut = Field(description="dr less earned, as a paired difference")
    mean_weight: float = Field(
        description="1 but for chance, if all that it would show had a chance in the log"
    )
    largest_weight: float
    agreement: float = Field(description="share of slots in which its most likely choice is what was shown")
    same_choice: float = Field(description="the mean chance with which it would have shown what was shown")


class LoggedOut(BaseModel):
    """The reward that one of the policies that decided has earned in the slots that were used."""

    group: str
    policy: str
    slots: int
    earned: IntervalOut


class ResultOut(BaseModel):
    """The result of an evaluation."""

    model_config = shown(_RESULT)

    policy: str
    version: int
    placement: str
    start_at: datetime = Field(alias="from")
    end_at: datetime = Field(alias="to")
    start: Literal["cold", "warm"]
    slots: Slots
    reward: Literal["acceptance", "value"]
    decisions: int = Field(description="decisions that were looked at: their reward windows are closed")
    open: int | None = Field(
        None,
        description="decisions that were not, as their window is still open; null in results of earlier versions",
    )
    imported: int | None = Field(
        None,
        description="imported decisions of that time, which are left out as their probability is not known, and do not "
        "count toward the limit; null in results of earlier versions",
    )
    learned: int = Field(description="outcomes that the policy learned from on its way")
    us_per_decision: float | None = Field(description="microseconds to choose, on the machine that evaluated")
    left_out: list[LeftOutOut]
    estimates: EstimatesOut | None = Field(description="null if nothing can be estimated; warnings say why")
    logged: list[LoggedOut]
    warnings: list[str]


class EvaluationProgress(BaseModel):
    """An evaluation: what was asked, by whom, and how far it is."""

    model_config = shown(_PROGRESS)

    evaluation_id: str
    policy: str | None = Field(description="null if a specification was sent")
    algorithm: str | None = Field(
        description="of the specification that was sent; null if a policy was named"
    )
    placement: str
    state: Literal["waiting", "running", "done", "failed"]
    asked_at: datetime
    asked_by: str
    seen: int = Field(description="decisions that have been looked at")
    total: int = Field(description="decisions to look at; 0 until that is known")
    error: str | None


class EvaluationOut(EvaluationProgress):
    """An evaluation: how far it is, and its result when it is done."""

    model_config = shown(_PROGRESS | {"result": _RESULT})

    result: ResultOut | None


class EvaluationsQuery(Parameters):
    """A page of evaluations."""

    before: Id | None = Field(None, description="only those asked for earlier: `next` of the page before")
    limit: int = Field(20, ge=1, le=MAX_LISTED)


class EvaluationsOut(BaseModel):
    """A page of evaluations without their results, the newest first."""

    model_config = shown({"evaluations": [_PROGRESS], "next": None})

    evaluations: list[EvaluationProgress]
    next: str | None = Field(description="`before` of the next page; null if this is the last")


class ComparisonQuery(Parameters):
    """The decisions to compare on."""

    start: Instant | None = Field(None, alias="from", description="a week before `to` if left out")
    end: Annotated[Instant | None, after("start", "from")] = Field(
        None, alias="to", description="now if left out"
    )
    slots: Slots = "first"
    limit: int = Field(20_000, ge=1, le=MAX_DECISIONS, description="the newest so many decisions")


class DecidingOut(BaseModel):
    """A policy that decided for a group of customers, and what came of it."""

    group: str = Field(description="champion, canary, caller, control, or one of the standing control groups")
    policy: str = Field(description="the policy that was to decide")
    decisions: int
    failures: int = Field(description="decisions that the fallback made since the policy could not")
    shown: int
    open: int = Field(description="offers shown whose reward window is still open: no rate counts them")
    observed: int = Field(description="offers whose window is closed, with a result")
    accepted: float = Field(description="of those observed")
    acceptance: IntervalOut


class FailureOut(BaseModel):
    """An error of a shadow."""

    reason: str
    decisions: int


class ShadowOut(BaseModel):
    """A policy that was asked what it would have shown, and what that would have earned."""

    policy: str
    role: Literal["shadow", "canary", "apprentice"]
    decisions: int
    judged: int = Field(description="slots")
    agreement: float | None = Field(
        description="share of slots in which its most likely choice is what was shown"
    )
    left_out: list[LeftOutOut]
    failures: list[FailureOut]
    mean_us: float | None = Field(description="microseconds a decision, in the worker")
    p95_us: float | None
    estimates: EstimatesOut | None
    warnings: list[str]


class AgreementOut(BaseModel):
    """The share of the caller's choices that were imitated on one day."""

    day: str
    slots: int
    agreement: IntervalOut


class AcceptedOut(BaseModel):
    """The outcomes of some of the caller's choices."""

    observed: int = Field(description="choices whose reward window is closed, with a result")
    open: int = Field(description="choices whose window is still open")
    accepted: float = Field(description="of those observed")
    acceptance: IntervalOut


class ApprenticeOut(BaseModel):
    """A report on how well the champion imitates the caller's own choice."""

    policy: str
    imitates: bool | None = Field(
        description="whether its algorithm learns to do what the caller does; null if this process lacks it"
    )
    slots: int
    agreement: IntervalOut
    same_choice: float | None
    agrees: AcceptedOut = Field(
        description="the caller's choices that the apprentice would have made as well"
    )
    differs: AcceptedOut = Field(description="the others")
    days: list[AgreementOut]
    notes: list[str]


class ComparisonOut(BaseModel):
    """The policies of a placement side by side. `notes` say what the numbers mean, and what they do not."""

    model_config = shown(
        _WINDOW
        | {
            "placement": "home",
            "slots": "first",
            "limit": 20_000,
            "deciding": [_DECIDING],
            "shadows": [_SHADOW],
            "apprentice": None,
            "notes": [],
        }
    )

    placement: str
    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")
    slots: Slots
    limit: int
    deciding: list[DecidingOut]
    shadows: list[ShadowOut]
    apprentice: ApprenticeOut | None
    notes: list[str]
