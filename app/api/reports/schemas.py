"""Reports, arms and the state of the service, as they travel."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from app.api.schemas import Id, Instant, in_order, shown

Dimension = Literal["offer", "policy", "placement", "group", "segment", "hour", "day"]

_COUNTS = {
    "decided": 100,
    "presented": 90,
    "clicked": 20,
    "accepted": 9,
    "rejected": 6,
    "ignored": 75,
    "unobserved": 0,
    "late": 1,
    "value": 360.0,
    "observed": 90,
    "rate": 0.1,
    "low": 0.0535,
    "high": 0.1792,
}


class AcceptanceQuery(BaseModel):
    """What to report on."""

    model_config = ConfigDict(extra="forbid")

    by: list[Dimension] = Field(["policy"], min_length=1, max_length=7, description="what to group by")
    start: Instant | None = Field(
        None, alias="from", description="decisions of the hours that begin at this time or later"
    )
    end: Instant | None = Field(
        None, alias="to", description="decisions of the hours that begin before this time"
    )
    placement: Id | None = None
    policy: Id | None = Field(None, description="the policy's name, in any version")

    @field_validator("end")
    @classmethod
    def _after_the_start(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        return in_order(value, info, "start", "from")


class AcceptanceRow(BaseModel):
    """Counts of one group. The first fields are there if the report is grouped by them."""

    offer_id: str | None = None
    policy: str | None = None
    version: int | None = Field(None, description="of the policy")
    placement: str | None = None
    group: str | None = Field(
        None, description="for which group it was decided: champion, canary, a control group, caller"
    )
    segment: str | None = None
    hour: datetime | None = None
    day: datetime | None = None
    decided: int
    presented: int
    clicked: int
    accepted: int
    rejected: int
    ignored: int = Field(description="nothing came in time, which counts as a no")
    unobserved: int = Field(description="nothing came in time, and nobody confirmed that it was presented")
    late: int
    value: float = Field(description="the sum of what acceptances brought")
    observed: int = Field(description="accepted + rejected + ignored")
    rate: float | None = Field(description="accepted / observed; null without observations")
    low: float = Field(description="lower end of the Wilson 95 % interval")
    high: float = Field(description="upper end of the Wilson 95 % interval")
    lift: float | None = Field(
        None, description="by group: the rate as a share of the champion's, less 1; null if that is not known"
    )
    difference: float | None = Field(None, description="by group: the rate less the champion's")
    difference_low: float | None = Field(None, description="lower end of Newcombe's 95 % interval")
    difference_high: float | None = Field(None, description="upper end of Newcombe's 95 % interval")


class AcceptanceReport(BaseModel):
    """One row for each group that had a decision."""

    model_config = shown(
        {"by": ["policy"], "rows": [{"policy": "calibrated", "version": 1} | _COUNTS]},
    )

    by: list[Dimension]
    rows: list[AcceptanceRow]


class ArmsQuery(BaseModel):
    """Of which version, and for which placement."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(
        None, ge=1, le=2**31 - 1, description="by default the newest that decides anywhere, else the newest"
    )
    placement: Id | None = Field(None, description="only its offers, and what was selected there")


class ArmOut(BaseModel):
    """What was learned of one offer; older observations count less."""

    offer_id: str
    observations: float
    successes: float = Field(
        description="acceptances; for a policy that learns from value, the sum of rewards"
    )
    mean: float | None = Field(description="the observed rate: successes / observations")
    low: float = Field(description="lower end of its Wilson 95 % interval")
    high: float = Field(description="upper end of its Wilson 95 % interval")
    posterior_mean: float | None = Field(
        description="what the policy expects of the offer (with features: of a typical request); null if untold"
    )
    posterior_low: float | None = Field(description="lower end of the 95 % interval of that")
    posterior_high: float | None = Field(description="upper end of the 95 % interval of that")
    selected: int = Field(description="how often the policy selected it in the last `hours`")
    share: float | None = Field(description="of all its selections; null if there were none")


class ArmsOut(BaseModel):
    """The arms of a policy; ``epoch`` counts their changes."""

    model_config = shown(
        {
            "policy": "thompson",
            "version": 1,
            "algorithm": "thompson",
            "placement": None,
            "epoch": 42,
            "learned": True,
            "hours": 24,
            "entropy": 0.81,
            "warning": None,
            "leader": "gold",
            "settled": False,
            "arms": [
                {
                    "offer_id": "gold",
                    "observations": 90.0,
                    "successes": 9.0,
                    "mean": 0.1,
                    "low": 0.0535,
                    "high": 0.1792,
                    "posterior_mean": 0.0909,
                    "posterior_low": 0.0448,
                    "posterior_high": 0.1509,
                    "selected": 95,
                    "share": 0.6,
                }
            ],
        }
    )

    policy: str
    version: int
    algorithm: str
    placement: str | None
    epoch: int
    learned: bool = Field(
        description="whether observations are those that it learned from; else they are those of its selections lately"
    )
    hours: int = Field(description="what counts as lately; the hour that has begun comes on top")
    entropy: float | None = Field(
        description="of its selections lately: 1 if all offers have the same share, 0 if one has all; null without any"
    )
    warning: str | None = Field(
        description="if exploration has died too early: which offers, and why; or what is not known"
    )
    leader: str | None = Field(description="the live offer that it expects most of, in what it ranks by")
    settled: bool | None = Field(
        description="whether the leader is known to be the best; null if nothing is known"
    )
    arms: list[ArmOut]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Each dependency with its state, ``ok`` or what is wrong with it."""

    model_config = shown(
        {
            "status": "ok",
            "checks": {"postgres": "ok", "redis": "ok", "catalogue": "ok", "keys": "ok", "arms": "ok"},
        }
    )

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
