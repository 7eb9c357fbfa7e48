"""Explanations, previews and simulations, as they travel."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.decisions.schemas import FactorsOut, PolicyRef
from app.api.schemas import Body, Id, examples, shown

_STOPPED = {
    "offer_id": "platinum",
    "result": "stopped",
    "stage": "suitability",
    "stops": [
        {
            "stage": "suitability",
            "name": "can afford it",
            "observed": {"customer.income": 1800.0},
            "required": "customer.income > 2500.0",
            "allowed_again_ms": None,
        }
    ],
}
_CHOSEN = {
    "offer_id": "gold",
    "result": "chosen",
    "rank": 1,
    "score": 4.8,
    "factors": {"P": 0.12, "C": 1.0, "V": 40.0, "L": 1.0},
    "class": "arbitrated",
}


class StopOut(BaseModel):
    """What stopped an offer: the stage, the rule or limit by name, what was observed and what was required."""

    stage: str
    name: str
    observed: Any = None
    required: Any = None
    allowed_again_ms: int | None = Field(
        None, description="when it would be allowed again, in Unix ms, if known"
    )


class CandidateExplained(BaseModel):
    """One offer of the catalogue: chosen, ready but not chosen, or stopped (and by what)."""

    model_config = shown(_CHOSEN, _STOPPED)

    offer_id: str
    result: Literal["chosen", "ready", "stopped"]
    stage: str | None = Field(None, description="the first stage that stopped it")
    stops: list[StopOut] = []
    rank: int | None = None
    score: float | None = None
    factors: FactorsOut | None = None
    class_: str | None = Field(None, alias="class", description="mandatory, overridden or arbitrated")
    first_if: dict[str, float | None] | None = Field(
        None,
        description="what each factor alone would have to be for the highest score; null where it cannot",
    )


class ExplanationAnswer(BaseModel):
    """Why and why not, for every offer of the catalogue."""

    model_config = shown(
        {
            "decision_id": "visit-1",
            "policy": {"name": "calibrated", "version": 1},
            "candidates": [_CHOSEN, _STOPPED],
        }
    )

    decision_id: str
    policy: PolicyRef
    candidates: list[CandidateExplained]


class PreviewRequest(Body):
    """A condition to be tried out before it goes live."""

    model_config = examples({"expression": "customer.age > 30", "context": {"reason": "cancel"}})

    expression: str = Field(max_length=4000)
    context: dict[str, Any] = Field(default_factory=dict, description="stands for the context of a request")
    sample: int = Field(10_000, ge=1, le=50_000, description="at most so many customers are looked at")


class Estimate(BaseModel):
    """How many of all customers match, with a 95 % interval; the three are equal if all were looked at."""

    matching: int
    low: int
    high: int


class PreviewAnswer(BaseModel):
    """How many customers match, and some of them."""

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
        }
    )

    expression: str
    matching: int
    sample: int
    customers: int
    exact: bool
    share: float | None
    estimate: Estimate
    examples: list[str]
    missing: dict[str, int] = Field(description="attributes that were missing, and for how many")


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

    placement: Id
    changes: list[Change] = Field(min_length=1, max_length=10_000)
    context: dict[str, Any] = Field(default_factory=dict)
    sample: int = Field(1000, ge=1, le=10_000)


class SimulatedRun(BaseModel):
    """What one catalogue did: candidates left after each stage, expected value, customers without any offer."""

    funnel: dict[str, int]
    expected_value: float
    without_offer: int
    without_offer_share: float
    without_offer_examples: list[str]


class SimulatedOffer(BaseModel):
    """How often an offer was chosen by each catalogue."""

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
