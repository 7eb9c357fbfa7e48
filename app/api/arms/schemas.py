"""Arms of policies, as they travel."""

from pydantic import BaseModel, Field

from app.api.schemas import Id, Parameters, shown


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
