"""Lists about a customer, as they travel: decisions, and entries in suppression lists."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.api.catalogue.signal_schemas import ScopeBody
from app.api.cursors import DecisionCursor
from app.api.schemas import DecisionId, Parameters, shown, storable
from app.api.suppressions.schemas import SUPPRESSION_EXAMPLE, ListedSuppression

MAX_DECISIONS = 100


class DecisionsQuery(Parameters):
    """A page of a customer's decisions."""

    limit: int = Field(20, ge=1, le=MAX_DECISIONS)
    before: DecisionCursor | None = Field(
        None, description="`next` of the page before; the newest if left out"
    )


class CustomerOutcome(BaseModel):
    """An outcome of an offer, or `expired`: nothing did in time."""

    outcome: str
    occurred_at: datetime
    recorded_at: datetime
    value: float | None
    reason: str | None = Field(description="why, where that was told: one that the catalogue declares")
    late: bool


class CustomerOffer(BaseModel):
    """An offer that was decided, with what came of it."""

    offer_id: str
    rank: int
    treatment_id: str | None
    outcomes: list[CustomerOutcome]


class CustomerDecision(BaseModel):
    """A decision for the customer; everything else of it is at `GET /v1/decisions/{decision_id}`."""

    decision_id: DecisionId
    decided_at: datetime
    placement: str
    channel: str | None
    policy: str = Field(description="name@version")
    control_group: str = Field(description="champion, canary, caller, imported, or a control group")
    source: str = Field(description="live, or history: imported")
    degraded: list[str]
    offers: list[CustomerOffer]


class CustomerDecisions(BaseModel):
    """A page of a customer's decisions, the newest first."""

    model_config = shown(
        {
            "decisions": [
                {
                    "decision_id": "nb02a-6f1d0c9b7e2f4f0a8f0d2c9f6b1a7e35",
                    "decided_at": "2026-03-08T09:00:00Z",
                    "placement": "home",
                    "channel": "web",
                    "policy": "calibrated@1",
                    "control_group": "champion",
                    "source": "live",
                    "degraded": [],
                    "offers": [
                        {
                            "offer_id": "gold",
                            "rank": 1,
                            "treatment_id": "banner",
                            "outcomes": [
                                {
                                    "outcome": "accepted",
                                    "occurred_at": "2026-03-08T09:01:00Z",
                                    "recorded_at": "2026-03-08T09:01:01Z",
                                    "value": 40.0,
                                    "reason": None,
                                    "late": False,
                                }
                            ],
                        }
                    ],
                }
            ],
            "next": None,
        }
    )

    decisions: list[CustomerDecision]
    next: str | None = Field(description="`before` of the next page; null if this is the last")


class ListsQuery(Parameters):
    """A page of a customer's entries in suppression lists."""

    limit: int = Field(100, ge=1, le=1000)
    after: Annotated[str, AfterValidator(storable)] | None = Field(
        None, max_length=128, description="`next` of the page before"
    )


class RememberedSignal(BaseModel):
    """A signal that held in a decision for the customer, and counts still."""

    model_config = ConfigDict(from_attributes=True)

    signal: str
    reason: str
    name: str = Field(description="of the reason")
    scope: ScopeBody
    since: datetime = Field(description="the decision in which it held last")
    until: datetime


class CustomerSuppressions(BaseModel):
    """A page of a customer's entries in suppression lists, by list; ended ones too. And what signals say now."""

    model_config = shown(
        {
            "suppressions": [SUPPRESSION_EXAMPLE],
            "next": None,
            "signals": [
                {
                    "signal": "angry",
                    "reason": "in-peace",
                    "name": "Leave in peace",
                    "scope": {"except_goals": ["serve", "retain"]},
                    "since": "2026-05-01T09:00:00Z",
                    "until": "2026-05-02T09:00:00Z",
                }
            ],
        }
    )

    suppressions: list[ListedSuppression]
    next: str | None = Field(description="`after` of the next page; null if this is the last")
    signals: list[RememberedSignal] | None = Field(
        description="signals that held in earlier decisions and count still, on every page; null if that cannot be read"
    )
