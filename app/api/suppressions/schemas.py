"""Entries in suppression lists, as they travel."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import from_json

from app.api.catalogue.signal_schemas import ScopeBody
from app.api.schemas import Body, CustomerId, Id, Instant, Name, Parameters, examples, shown

SUPPRESSION_EXAMPLE = {
    "list_id": "complaints",
    "reason": "an open complaint",
    "until": "2026-12-31T23:00:00Z",
    "added_at": "2026-11-20T09:30:00Z",
}


ScopeOut = Annotated[
    dict[str, list[str]], BeforeValidator(lambda value: from_json(value) if isinstance(value, str) else value)
]
"""A scope as it is shown, also from the JSON in which it is stored."""


class SuppressionBody(Body):
    """The reason why a customer must not be contacted, and until when."""

    model_config = examples(
        {"reason": "an open complaint", "until": "2026-12-31T23:00:00Z"},
        {"reason_id": "in-peace", "scope": {"except_goals": ["serve", "retain"]}},
    )

    reason: Name | None = Field(
        None, description="in words; the name of the reason if only `reason_id` is given"
    )
    reason_id: Id | None = Field(None, description="a reason of the catalogue")
    scope: ScopeBody | None = Field(None, description="the offers that are not made; all if left out")
    until: Instant | None = Field(
        None, description="when it ends (exclusive); null if it does not end by itself"
    )


class SuppressionOut(BaseModel):
    """A customer's entry in a suppression list."""

    model_config = shown(SUPPRESSION_EXAMPLE)

    list_id: str
    reason: str
    until: datetime | None
    added_at: datetime
    scope: ScopeOut | None = Field(None, description="the offers that it is about; null for all")


class ListedSuppression(SuppressionOut):
    """An entry as lists show it."""

    reason_id: str | None = Field(None, description="of the catalogue, if one was given")


class EntriesQuery(Parameters):
    """A page of a list."""

    limit: int = Field(100, ge=1, le=1000)
    after: CustomerId | None = Field(None, description="`next` of the page before")


class SuppressionEntry(ListedSuppression):
    """An entry of a list, with its customer."""

    model_config = shown(SUPPRESSION_EXAMPLE | {"customer_id": "1025"})

    customer_id: str


class SuppressionEntries(BaseModel):
    """A page of a list, by the ids of customers."""

    model_config = shown({"entries": [SUPPRESSION_EXAMPLE | {"customer_id": "1025"}], "next": None})

    entries: list[SuppressionEntry]
    next: str | None = Field(description="`after` of the next page; null if this is the last")


class SuppressionStored(BaseModel):
    """The entry is in force."""

    model_config = shown({"list_id": "complaints", "customer_id": "1025"})

    list_id: str
    customer_id: str
