"""Questions of pages and apps, and their answers: nothing that their reader may not know."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, StringConstraints, WrapValidator, model_validator

from app.api.batch import or_malformed
from app.api.decisions.schemas import TREATMENT_EXAMPLE, TreatmentOut
from app.api.feedback.schemas import _DECISION, FeedbackBatch, FeedbackRequest
from app.api.schemas import Body, Id, WarningOut, examples, shown
from app.api.values import form, page_decision_id, visitor_id

VISITOR = "5f0c1d9e8b7a4c3d9e8f7a6b"

MAX_PUBLIC_ITEMS = 50
"""Of one batch: each may have to be looked for in the archive."""

VisitorId = Annotated[str, form(r"^[A-Za-z0-9_-]{16,64}$", visitor_id)]
OwnId = Annotated[str, form(r"^pub-[A-Za-z0-9_-]{16,100}$", page_decision_id)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class _Asker(Body):
    """The asker: a visitor whom nobody knows, or a customer whom the shop's back end vouches for."""

    visitor_id: VisitorId | None = Field(
        None, description="an id that the page or app made up and keeps, 16 to 64 of `A-Z a-z 0-9 _ -`"
    )
    customer_token: Token | None = Field(
        None, description="a token (JWT) of the shop's back end: `sub` is the customer's id"
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.visitor_id is None) == (self.customer_token is None):
            raise ValueError("send either 'visitor_id' or 'customer_token'")
        return self


class PublicDecisionRequest(_Asker):
    """A question of a page or an app: what is best for who looks at it?"""

    model_config = examples({"placement": "home", "visitor_id": VISITOR, "context": {"reason": "browse"}})

    placement: Id
    context: dict[str, Any] = Field(
        default_factory=dict, description="free JSON about this visit; its sender can put anything there"
    )
    limit: int | None = Field(
        None,
        ge=1,
        le=100,
        description="at most so many offers; by default the placement's slots, and never more (`warnings` say so)",
    )
    decision_id: OwnId | None = Field(
        None,
        description="your own id, `pub-` and 16 to 100 characters that nobody can guess: the same id gives the same"
        " answer for 30 days",
    )


class PublicTreatment(TreatmentOut):
    """The form of an offer, without what only agents read."""

    script: None = Field(None, exclude=True)


class PublicOffer(BaseModel):
    """An offer in its slot."""

    offer_id: str
    rank: int
    treatment: PublicTreatment | None


class PublicDecisionAnswer(BaseModel):
    """A decision, as far as anybody may know it."""

    model_config = shown(
        {
            "decision_id": _DECISION,
            "placement": "home",
            "offers": [
                {
                    "offer_id": "gold",
                    "rank": 1,
                    "treatment": {**TREATMENT_EXAMPLE, "link": "/cards/gold?from=home"},
                }
            ],
            "nothing_right_now": False,
            "degraded": False,
            "feedback_until": "2026-11-22T11:00:00.000Z",
        }
    )

    decision_id: str
    placement: str
    offers: list[PublicOffer]
    nothing_right_now: bool = Field(description="`offers` are the placement's defaults then, if any")
    degraded: bool = Field(description="whether something could not be used")
    feedback_until: str | None = Field(description="null: no feedback is taken on this answer")
    warnings: list[WarningOut] | None = Field(
        None, description="a `limit` above the placement's slots; left out if there is nothing to say"
    )


class PublicFeedback(_Asker, FeedbackBatch):
    """Outcomes of the visitor's own decisions; each is answered for itself. They may not have a `value`."""

    model_config = examples(
        {
            "visitor_id": VISITOR,
            "items": [{"decision_id": _DECISION, "offer_id": "gold", "outcome": "presented"}],
        }
    )

    items: list[Annotated[FeedbackRequest | Any, WrapValidator(or_malformed(FeedbackRequest))]] = Field(
        min_length=1, max_length=MAX_PUBLIC_ITEMS
    )
