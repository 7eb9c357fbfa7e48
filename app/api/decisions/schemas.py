"""Decisions, as they travel."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas import (
    Body,
    CustomerId,
    DecisionId,
    Id,
    WarningOut,
    examples,
    shown,
)

TREATMENT_EXAMPLE = {
    "treatment_id": "banner",
    "channel": "web",
    "language": "en",
    "title": "A card that pays you back",
    "message": "",
    "image": None,
}
_OFFER = {
    "offer_id": "gold",
    "rank": 1,
    "score": 4.8,
    "factors": {"P": 0.12, "C": 1.0, "V": 40.0, "L": 1.0},
    "probability": 0.9,
    "treatment": {
        **TREATMENT_EXAMPLE,
        "script": None,
        "link": "/cards/gold?from=home",
        "button": "Get it now",
        "attributes": {"badge": "new"},
    },
}
_ANSWER = {
    "decision_id": "nb02a-6f1d0c9b7e2f4f0a8f0d2c9f6b1a7e35",
    "placement": "home",
    "policy": {"name": "calibrated", "version": 1},
    "control": False,
    "offers": [_OFFER],
    "nothing_right_now": False,
    "degraded": [],
    "feedback_until": "2026-11-22T11:00:00.000Z",
}


OfferField = Literal["score", "factors", "probability", "treatment"]
"""What an answer may leave out of its offers."""


class DecisionRequest(Body):
    """A question: what is best for this customer, here, now?"""

    model_config = examples(
        {
            "customer_id": "1025",
            "placement": "home",
            "context": {"reason": "browse", "pages": ["deals"]},
            "limit": 2,
        }
    )

    customer_id: CustomerId
    placement: Id
    context: dict[str, Any] = Field(default_factory=dict, description="free JSON about this interaction")
    limit: int | None = Field(
        None,
        ge=1,
        le=100,
        description="at most so many offers; by default the placement's slots, and never more (`warnings` say so)",
    )
    fields: list[OfferField] | None = Field(
        None,
        max_length=4,
        description="what is answered of each offer besides `offer_id` and `rank`; all of it by default."
        ' For a web page: `["treatment"]`',
    )
    decision_id: DecisionId | None = Field(
        None, description="your own id: the same id gives the same answer for 30 days"
    )
    deadline_ms: int | None = Field(
        None, ge=1, le=60_000, description="answer within this time, by default the placement's"
    )
    dry_run: bool = Field(False, description="nothing is reserved, logged or learned")
    explain: bool = Field(False, description="say why and why not, for every offer of the catalogue")
    baseline: list[Id] | None = Field(
        None,
        max_length=100,
        description="the caller's own choice, best first: what is answered while the placement is an apprentice",
    )


class PolicyRef(BaseModel):
    """The policy that decided."""

    name: str
    version: int


class FactorsOut(BaseModel):
    """``score = P x C x V x L``: propensity, context weight, value, business lever."""

    P: float
    C: float
    V: float
    L: float


class StepOut(BaseModel):
    """A step of a script whose condition holds."""

    step_id: str
    text: str


class ObjectionOut(BaseModel):
    """An objection that the customer may make, and what to answer."""

    objection: str
    answer: str


class ScriptOut(BaseModel):
    """The steps that an agent says, in this order."""

    steps: list[StepOut]
    objections: list[ObjectionOut]


def _is_none(value: object) -> bool:
    return value is None


class TreatmentOut(BaseModel):
    """The form of the offer in this channel, its variables filled in."""

    treatment_id: str
    channel: str
    language: str
    title: str
    message: str
    image: str | None
    script: ScriptOut | None = None
    link: str | None = Field(
        None,
        exclude_if=_is_none,
        description="where the button leads; left out, as what follows, if there is none",
    )
    button: str | None = Field(None, exclude_if=_is_none)
    legal: str | None = Field(None, exclude_if=_is_none)
    attributes: dict[str, bool | int | float | str] | None = Field(
        None, exclude_if=_is_none, description="what the front end is told besides"
    )


class OfferOut(BaseModel):
    """An offer in its slot. ``probability`` is the exact chance with which the system selected it for the slot.

    What the request's ``fields`` do not name is left out.
    """

    offer_id: str
    rank: int
    score: float | None = None
    factors: FactorsOut | None = None
    probability: float | None = None
    treatment: TreatmentOut | None = None


class SignalOut(BaseModel):
    """A signal that holds, or lasts: its reason, with the name of that, and the end, if it is known."""

    signal: str
    reason: str
    name: str
    until: str | None


class DecisionAnswer(BaseModel):
    """A decision. ``feedback_until`` is null when no feedback is expected (dry runs, degraded answers)."""

    model_config = shown(_ANSWER)

    decision_id: str
    placement: str
    policy: PolicyRef
    control: bool = Field(description="whether the customer belongs to the control group")
    offers: list[OfferOut]
    nothing_right_now: bool = Field(
        description="no offer may be made or makes sense; `offers` are the placement's defaults then, if any"
    )
    degraded: list[str] = Field(description="what could not be used; empty when all is well")
    feedback_until: str | None
    holdouts: list[str] | None = Field(
        None,
        exclude_if=_is_none,
        description="hold-outs that the customer is in, whose offers are withheld; left out if there is none",
    )
    explanation: list[dict[str, Any]] | None = Field(
        None, description="as in GET /v1/decisions/{decision_id}/explanation; only if it was asked for"
    )
    signals: list[SignalOut] | None = Field(
        None,
        description="why offers are held back now, for whoever talks to the customer; left out if there is none",
    )
    warnings: list[WarningOut] | None = Field(
        None,
        description="a `limit` above the placement's slots; in dry runs also values of the context that the"
        " vocabulary does not declare",
    )


class LoggedOffer(BaseModel):
    """An offer as it was logged; imported history has no treatment, score or probability."""

    offer_id: str
    rank: int
    score: float | None
    factors: FactorsOut | None
    probability: float | None
    treatment: TreatmentOut | None


class CandidateOut(BaseModel):
    """An offer that could have been chosen: its number, and the customer's precomputed propensity, if any."""

    number: int
    prior: float | None


class OutcomeOut(BaseModel):
    """One outcome of an offer. Until the decision is archived only the time of recording is told."""

    offer_id: str
    outcome: str
    recorded_at_ms: int
    occurred_at_ms: int | None = None
    value: float | None = None
    late: bool | None = None
    reward: float | None = Field(None, description="what the policy learned from; null if nothing")


class LogPosition(BaseModel):
    """The place of the decision in the log."""

    bucket: int
    position: str


class DecisionRecord(BaseModel):
    """A decision as it was logged. Times that end in ``_ms`` are Unix milliseconds."""

    model_config = ConfigDict(extra="allow") | shown(
        _ANSWER
        | {
            "customer_id": "1025",
            "channel": "web",
            "presentation": "implicit",
            "catalog_version": 7,
            "epoch": 42,
            "decided_at_ms": 1795341600000,
            "until_ms": 1795345200000,
            "context": {"reason": "browse"},
            "limit": None,
            "slots": 1,
            "numbers": [1],
            "source": "live",
            "archived": True,
            "log": {"bucket": 42, "position": "1795341600003-0"},
            "candidates": [{"number": 1, "prior": 0.12}, {"number": 2, "prior": 0.04}],
            "outcomes": [
                {
                    "offer_id": "gold",
                    "outcome": "accepted",
                    "recorded_at_ms": 1795341660000,
                    "occurred_at_ms": 1795341659000,
                    "value": 40.0,
                    "late": False,
                    "reward": 1.0,
                }
            ],
        }
    )

    decision_id: str
    customer_id: str
    placement: str
    channel: str | None
    presentation: str
    policy: PolicyRef
    control: bool
    catalog_version: int
    epoch: int = Field(description="how often the policy's arms had been changed")
    decided_at_ms: int
    until_ms: int = Field(description="the end of the reward window")
    context: dict[str, Any]
    limit: int | None
    slots: int
    offers: list[LoggedOffer]
    numbers: list[int] = Field(description="the numbers of the offers, in their order")
    degraded: list[str]
    feedback_until: str | None
    source: str = Field(description="live, or history for decisions that somebody else made")
    archived: bool = Field(description="whether it has reached Postgres")
    log: LogPosition | None = None
    candidates: list[CandidateOut] | None = Field(None, description="null until it is archived")
    outcomes: list[OutcomeOut]
