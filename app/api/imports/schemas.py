"""Bulk imports, as they travel."""

from pydantic import BaseModel, Field

from app.api.schemas import shown


class RefusalOut(BaseModel):
    """The reason why a row was not loaded. Data rows are counted from 1."""

    row: int
    field: str | None
    reason: str
    value: str


class ImportAnswer(BaseModel):
    """The result of an import: ``rows = loaded + refused``. ``refusals`` describes the first 1,000."""

    model_config = shown(
        {
            "rows": 2,
            "loaded": 1,
            "refused": 1,
            "refusals": [
                {"row": 2, "field": "propensity", "reason": "lies outside of 0 to 1", "value": "1.7"}
            ],
            "new": None,
        }
    )

    rows: int
    loaded: int
    refused: int
    refusals: list[RefusalOut]
    new: int | None = Field(None, description="for history: how many rows had not been imported before")
