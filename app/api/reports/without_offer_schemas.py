"""Customers whom the rules leave without any offer, as they travel."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.schemas import Body, Id, WarningOut, examples, shown
from decisioning.model.stop import StageName


class WithoutOfferRequest(Body):
    """Among whom to look, and where."""

    model_config = examples({"placement": "home"}, {"placement": "home", "of": "last_day", "sample": 200})

    placement: Id
    of: Literal["sample", "last_day"] = Field(
        "sample",
        description="a sample of the customers, as they would be decided for now; or the decisions of the last"
        " 24 hours, as they were",
    )
    sample: int = Field(
        1000, ge=1, le=10_000, description="customers to look at, or decisions without any offer to explain"
    )
    context: dict[str, Any] = Field(
        default_factory=dict, description="stands for the context of a request; decisions have their own"
    )


class StoppingRule(BaseModel):
    """A rule, limit or consent that stops offers of those who have nothing left."""

    stage: StageName
    name: str
    inherited_from: str | None = Field(
        description="the group or goal whose rule it is, such as `group cards`; null for others"
    )
    customers: int = Field(description="for whom it stops most of their offers; they add up to `explained`")
    offers: int = Field(description="pairs of such a customer and an offer that it is the first to stop")
    only: int = Field(description="customers who would have an offer if this rule alone were not there")
    examples: list[str] = Field(description="some of `customers`")


class WithoutOfferAnswer(BaseModel):
    """The number of customers with nothing to be offered, and what stops them: the rule that stops most comes first."""

    model_config = shown(
        {
            "placement": "home",
            "of": "sample",
            "looked_at": 1000,
            "customers": 250_000,
            "without_offer": 120,
            "share": 0.12,
            "low": 0.1013,
            "high": 0.1416,
            "explained": 120,
            "funnel": {"dates": 3000, "consent": 2100, "chosen": 1500},
            "stages": {"consent": 240, "eligibility": 120},
            "rules": [
                {
                    "stage": "consent",
                    "name": "marketing",
                    "inherited_from": "goal grow",
                    "customers": 100,
                    "offers": 240,
                    "only": 90,
                    "examples": ["1025"],
                }
            ],
            "more_rules": 1,
            "warnings": [],
        }
    )

    placement: str
    of: Literal["sample", "last_day"]
    looked_at: int = Field(description="customers of the sample, or all decisions of the last 24 hours")
    customers: int | None = Field(description="how many customers there are; null for decisions")
    without_offer: int
    share: float | None
    low: float = Field(description="lower end of the share's 95 % interval")
    high: float
    explained: int = Field(description="those that the counts below are of")
    funnel: dict[str, int] | None = Field(
        description="candidates of the whole sample left after each stage; null for decisions"
    )
    stages: dict[str, int] = Field(description="of `explained`: offers by the stage that stops them first")
    rules: list[StoppingRule]
    more_rules: int = Field(description="rules that are not listed")
    warnings: list[WarningOut] = Field([], description="about the context that was sent")
