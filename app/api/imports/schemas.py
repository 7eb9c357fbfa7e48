"""Bulk imports, as they travel."""

from pydantic import BaseModel, Field

from app.api.schemas import shown


class RefusalOut(BaseModel):
    """The reason why a row was not loaded. Data rows are counted from 1; a row has one for each cell that is wrong."""

    row: int
    field: str | None
    reason: str
    value: str
    entity: str | None = Field(
        None, description="the thing that the row is about, such as `customers.1025`, if it names one"
    )
    line: int | None = Field(
        None, description="the line of the file at which the row begins, from 1; null for Parquet"
    )


class ImportAnswer(BaseModel):
    """The result of an import: ``rows = loaded + refused``. ``refusals`` has the first 1,000 cells at fault."""

    model_config = shown(
        {
            "rows": 2,
            "loaded": 1,
            "refused": 1,
            "refusals": [
                {
                    "row": 2,
                    "field": "propensity",
                    "reason": "lies outside of 0 to 1",
                    "value": "1.7",
                    "entity": "customers.1026",
                    "line": 3,
                }
            ],
            "new": None,
        }
    )

    rows: int
    loaded: int
    refused: int
    refusals: list[RefusalOut]
    new: int | None = Field(None, description="for history: how many rows had not been imported before")
