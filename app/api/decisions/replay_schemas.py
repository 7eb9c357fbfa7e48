"""Replays of decisions, as they travel."""

from pydantic import BaseModel, Field

from app.api.decisions.schemas import FactorsOut
from app.api.schemas import shown

_OFFER = {
    "offer_id": "gold",
    "rank": 1,
    "score": 4.8,
    "probability": 0.875,
    "factors": {"P": 0.12, "C": 1.0, "V": 40.0, "L": 1.0},
}


class ReplayedOffer(BaseModel):
    """An offer in its slot, without texts, which are no part of a ranking."""

    offer_id: str
    rank: int
    score: float | None
    probability: float | None = Field(description="with which it was chosen for its slot")
    factors: FactorsOut | None


class ReplayAnswer(BaseModel):
    """A logged decision beside what comes of making it again from the log alone."""

    model_config = shown(
        {
            "decision_id": "visit-1",
            "policy": "calibrated@1",
            "epoch": 120,
            "catalog_version": 14,
            "identical": True,
            "difference": 0.0,
            "caveat": None,
            "logged": [_OFFER],
            "replayed": [_OFFER],
        }
    )

    decision_id: str
    policy: str = Field(description="that scored it, as name@version")
    epoch: int = Field(description="of what the policy had learned")
    catalog_version: int
    identical: bool = Field(description="all offers, ranks and numbers are equal bit for bit")
    difference: float | None = Field(
        description="the largest relative difference of a number; null where offers or ranks differ"
    )
    caveat: str | None = Field(
        description="why last bits may differ: other versions computed it; null if it was the same ones"
    )
    logged: list[ReplayedOffer]
    replayed: list[ReplayedOffer]
