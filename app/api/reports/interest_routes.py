"""A report on what customers are interested in."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.deps import Reader, State, problems
from app.api.schemas import Parameters, shown

router = APIRouter(prefix="/v1/reports", tags=["reports"])


class InterestsQuery(Parameters):
    """The number of customers that are looked at."""

    sample: int = Field(1_000, ge=1, le=10_000, description="at most so many customers are looked at")


class ConceptImpact(BaseModel):
    """A concept: how many customers it means anything to, their scores together, and its share of all scores."""

    concept: str
    name: str
    customers: int
    total: float
    share: float


class InterestsReport(BaseModel):
    """Concepts by their impact, over `sample` of all `customers`."""

    model_config = shown(
        {
            "customers": 2469,
            "sample": 1000,
            "interests": [
                {"concept": "sport", "name": "Sport", "customers": 412, "total": 1630.5, "share": 0.71},
                {"concept": "garden", "name": "Garden", "customers": 120, "total": 665.25, "share": 0.29},
            ],
        }
    )

    customers: int
    sample: int
    interests: list[ConceptImpact]


@router.get("/interests", responses=problems())
async def report_interests(
    state: State, key: Reader, query: Annotated[InterestsQuery, Query()]
) -> InterestsReport:
    """Rank concepts by what they mean to customers now: over a sample of all of whom there is a record."""
    totals, looked_at, customers = await state.interests.over_all(state.current_catalogue(), query.sample)
    return InterestsReport.model_validate(
        {"customers": customers, "sample": looked_at, "interests": totals}, from_attributes=True
    )
