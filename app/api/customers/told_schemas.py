"""Aggregates and interests that a customer's events tell, as they travel."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas import shown


class ConceptScore(BaseModel):
    """An interest of a customer, and how strong it is now."""

    concept: str
    name: str
    score: float


class CustomerTold(BaseModel):
    """Aggregates by id, and interests, the strongest first; those that nothing tells of are left out."""

    model_config = shown(
        {
            "customer_id": "1025",
            "at": "2026-05-01T09:00:00Z",
            "events": {"calls_7d": 2, "last_reason": "bill", "since_order": 3.5},
            "interests": [{"concept": "sport", "name": "Sport", "score": 6.5}],
        }
    )

    customer_id: str
    at: datetime
    events: dict[str, bool | int | float | str] = Field(description="values of aggregates by id")
    interests: list[ConceptScore]
