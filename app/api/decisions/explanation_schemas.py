"""Explanations of decisions, as they travel."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.decisions.schemas import FactorsOut, PolicyRef
from app.api.schemas import shown

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
            "inherited_from": "group cards",
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
    """A reason that stopped an offer: the stage, the rule or limit by name, what was observed and what was required."""

    stage: str
    name: str
    observed: Any = None
    required: Any = None
    allowed_again_ms: int | None = Field(
        None, description="when it would be allowed again, in Unix ms, if known"
    )
    inherited_from: str | None = Field(
        None, description="whose rule or limit it is, if not the offer's own: `group <id>` or `goal <name>`"
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
    """The reasons for and against, for every offer of the catalogue."""

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
