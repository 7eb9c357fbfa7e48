"""Arms of policies, as they travel."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from app.api.catalogue.field_types import TimeZone
from app.api.exports.schemas import Day
from app.api.reports.offer_schemas import day_in_range, later_than_since
from app.api.schemas import Id, Parameters, shown
from decisioning.reporting.over_time.store_policy_selections import Per


class ArmsQuery(Parameters):
    """Of which version, and for which placement."""

    version: int | None = Field(
        None, ge=1, le=2**31 - 1, description="by default the newest that decides anywhere, else the newest"
    )
    placement: Id | None = Field(None, description="only its offers, and what was selected there")


class ArmOut(BaseModel):
    """One arm: what was learned of an offer; older observations count less."""

    offer_id: str
    name: str | None = Field(description="of the offer; null if the catalogue has it no more")
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
    open: int = Field(
        description="of those selected, how many have an open reward window: a policy that learns has counted their"
        " silence until something comes, one that does not has no observation of them"
    )
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
                    "name": "Gold card",
                    "observations": 90.0,
                    "successes": 9.0,
                    "mean": 0.1,
                    "low": 0.0535,
                    "high": 0.1792,
                    "posterior_mean": 0.0909,
                    "posterior_low": 0.0448,
                    "posterior_high": 0.1509,
                    "selected": 95,
                    "open": 12,
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
        description="whether observations are those that it learned from; else they are those of its selections"
        " lately whose reward window is closed"
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
    arms: list[ArmOut] = Field(description="by share, the largest first")


class SelectionsQuery(Parameters):
    """Of which version, where and when, and how many offers are told apart."""

    version: int | None = Field(
        None, ge=1, le=2**31 - 1, description="by default the newest that decides anywhere, else the newest"
    )
    placement: Id | None = Field(None, description="in this placement alone")
    per: Per = Field("day", description="`hour`: of 31 days at most")
    since: Annotated[Day | None, AfterValidator(day_in_range)] = Field(
        None,
        description="the first day, in the time zone; by default 28 days before `until`, by hour 2",
    )
    until: Annotated[Day | None, AfterValidator(day_in_range), AfterValidator(later_than_since)] = Field(
        None, description="the first day that is left out, in the time zone; by default tomorrow"
    )
    time_zone: TimeZone = Field(
        "UTC", description="of days; an hour of UTC counts as a whole in the day in which it begins"
    )
    top: int = Field(5, ge=1, le=20, description="so many offers, the most selected, are told apart")


class SelectedOfferOut(BaseModel):
    """An offer that is told apart, with all its selections of the time."""

    offer_id: str
    name: str | None = Field(description="of the offer; null if the catalogue has it no more")
    selected: int
    share: float = Field(description="of all selections of the time")


class SelectionsAtOut(BaseModel):
    """The selections of one hour or day."""

    at: datetime = Field(description="when it begins")
    total: int
    selected: list[int] = Field(description="by offer, in the order of `top`")
    rest: int = Field(description="of all other offers together")


class SelectionsOut(BaseModel):
    """What a policy selected over time: the offers that it selects most, and the rest."""

    model_config = shown(
        {
            "policy": "thompson",
            "version": 1,
            "placement": None,
            "per": "day",
            "time_zone": "Europe/Madrid",
            "since": "2026-03-01T23:00:00Z",
            "until": "2026-03-02T23:00:00Z",
            "total": 200,
            "offers": 12,
            "top": [{"offer_id": "gold", "name": "Gold card", "selected": 120, "share": 0.6}],
            "rest": 80,
            "times": [{"at": "2026-03-01T23:00:00Z", "total": 200, "selected": [120], "rest": 80}],
        }
    )

    policy: str
    version: int
    placement: str | None
    per: Per
    time_zone: str
    since: datetime
    until: datetime
    total: int = Field(description="offers selected; one decision selects as many as it has slots")
    offers: int = Field(description="how many different ones")
    top: list[SelectedOfferOut] = Field(description="the most selected of the time, most first")
    rest: int = Field(description="selections of all other offers")
    times: list[SelectionsAtOut] = Field(
        description="in order; those in which it selected nothing are left out"
    )
