"""The history of a customer's consents and objections, as it travels."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.customers.schemas import STATEMENT_EXAMPLE
from app.api.schemas import Parameters, shown


class ConsentsQuery(Parameters):
    """A page of the history."""

    limit: int = Field(100, ge=1, le=1000)
    before: int | None = Field(None, ge=1, le=2**63 - 1, description="`next` of the page before")


class ConsentRecordOut(BaseModel):
    """One consent or objection, as it was stated."""

    record_id: int
    kind: str = Field(description="consent or objection")
    purpose: str
    channel: str
    given: bool = Field(description="false: withdrawn, or lifted")
    at: datetime | None = Field(
        description="when it was stated; null of what was stored before there were records"
    )
    source: str
    proof: str
    expires_at: datetime | None
    before: list[str] | None = Field(
        description="what was in force for the purpose until then, objections with ! before them"
    )
    author: str = Field(description="who brought it here: the key, or the user of the command line")
    recorded_at: datetime


class CustomerConsents(BaseModel):
    """Consents and objections in force, by purpose, and a page of the history behind them, the newest record first."""

    model_config = shown(
        {
            "customer_id": "1025",
            "consents": {"marketing": ["email"]},
            "objections": {},
            "records": [
                {
                    "record_id": 7,
                    **STATEMENT_EXAMPLE,
                    "before": None,
                    "author": "crm",
                    "recorded_at": "2026-03-01T09:30:02Z",
                }
            ],
            "next": None,
        }
    )

    customer_id: str
    consents: dict[str, list[str]]
    objections: dict[str, list[str]]
    records: list[ConsentRecordOut]
    next: int | None = Field(description="`before` of the next page; null if this is the last")
