"""Previews of rules and simulations, as they travel."""

from typing import Any

from pydantic import BaseModel, Field

from app.api.schemas import Body, Id, WarningOut, examples, shown


class PreviewRequest(Body):
    """A condition to be tried out before it goes live."""

    model_config = examples({"expression": "customer.age > 30", "context": {"reason": "cancel"}})

    expression: str = Field(max_length=4000)
    context: dict[str, Any] = Field(default_factory=dict, description="stands for the context of a request")
    sample: int = Field(10_000, ge=1, le=50_000, description="at most so many customers are looked at")


class Estimate(BaseModel):
    """The number of customers who match, with a 95 % interval; the three are equal if all were looked at."""

    matching: int
    low: int
    high: int


class PreviewAnswer(BaseModel):
    """The number of customers who match, and some of them."""

    model_config = shown(
        {
            "expression": "customer.age > 30",
            "matching": 812,
            "sample": 2469,
            "customers": 2469,
            "exact": True,
            "share": 0.3289,
            "estimate": {"matching": 812, "low": 812, "high": 812},
            "examples": ["1025"],
            "missing": {"age": 1668},
            "warnings": [],
        }
    )

    expression: str
    matching: int
    sample: int
    customers: int = Field(description="how many there are; of more than 100,000, about")
    exact: bool
    share: float | None
    estimate: Estimate
    examples: list[str]
    missing: dict[str, int] = Field(description="attributes that were missing, and for how many")
    warnings: list[WarningOut] = Field([], description="about the rule, and the context that was sent")


class Change(Body):
    """One change of the catalogue, as it is stored; without a body the thing is deleted."""

    kind: str
    id: str = Field(max_length=130)
    body: dict[str, Any] | None = None


class SimulationRequest(Body):
    """A changed catalogue to be tried beside the live one."""

    model_config = examples(
        {
            "placement": "home",
            "changes": [{"kind": "goal", "id": "retain", "body": {"lever": 50}}],
            "sample": 500,
        }
    )

    placement: Id | None = Field(None, description="may be left out where there is only one")
    changes: list[Change] = Field(min_length=1, max_length=10_000)
    context: dict[str, Any] = Field(default_factory=dict)
    sample: int = Field(1000, ge=1, le=10_000)


class SimulatedRun(BaseModel):
    """The run of one catalogue: candidates left after each stage, expected value, customers without any offer."""

    funnel: dict[str, int]
    expected_value: float
    without_offer: int
    without_offer_share: float
    without_offer_examples: list[str]


class SimulatedOffer(BaseModel):
    """The number of times that each catalogue chose an offer."""

    offer_id: str
    live: int
    changed: int
    difference: int


class SimulationAnswer(BaseModel):
    """Both catalogues on the same customers with the same draws. Nothing was logged or learned."""

    placement: str
    customers: int
    live: SimulatedRun
    changed: SimulatedRun
    offers: list[SimulatedOffer]
    customers_with_another_answer: int
    warnings: list[WarningOut] = Field([], description="about the context that was sent")
