"""What travels over HTTP. Ids are short and plain, times ISO 8601 with a zone, money in the bank's own unit."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from decisioning.catalog.model import FOREVER_MS

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a surrogate pair") from None
    return value


Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
CustomerId = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_storable)]
DecisionId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Text = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_storable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Body(BaseModel):
    """A request body: unknown fields are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class DecisionRequest(Body):
    """A question: what is best for this customer, here, now?"""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "1025",
                    "placement": "web-home",
                    "context": {"reason": "browse", "pages": ["deals"]},
                    "limit": 2,
                }
            ]
        },
    )

    customer_id: CustomerId
    placement: Id
    context: dict[str, Any] = Field(default_factory=dict, description="free JSON about this interaction")
    limit: int | None = Field(
        None, ge=1, le=100, description="at most so many offers; by default the placement's slots"
    )
    decision_id: DecisionId | None = Field(
        None, description="your own id: the same id gives the same answer for 30 days"
    )
    deadline_ms: int | None = Field(
        None, ge=1, le=60_000, description="answer within this time, by default the placement's"
    )
    dry_run: bool = Field(False, description="nothing is reserved, logged or learned")


class PolicyRef(BaseModel):
    """Which policy decided."""

    name: str
    version: int


class FactorsOut(BaseModel):
    """``score = P x C x V x L``: propensity, context weight, value, business lever."""

    P: float
    C: float
    V: float
    L: float


class TreatmentOut(BaseModel):
    """How the offer is put in this channel."""

    treatment_id: str
    channel: str
    language: str
    title: str
    message: str
    image: str | None


class OfferOut(BaseModel):
    """An offer in its slot. ``probability`` is the exact chance with which the system selected it for the slot."""

    offer_id: str
    rank: int
    score: float | None
    factors: FactorsOut | None
    probability: float | None
    treatment: TreatmentOut


class DecisionAnswer(BaseModel):
    """A decision. ``feedback_until`` is null when no feedback is expected (dry runs, degraded answers)."""

    decision_id: str
    placement: str
    policy: PolicyRef
    control: bool = Field(description="whether the customer belongs to the control group")
    offers: list[OfferOut]
    degraded: list[str] = Field(description="what could not be used; empty when all is well")
    feedback_until: str | None


OutcomeName = Literal["presented", "clicked", "accepted", "rejected"]


class FeedbackRequest(Body):
    """What happened to an offer of a decision."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "decision_id": "nb02a-6f1d0c9b7e2f4f0a8f0d2c9f6b1a7e35",
                    "offer_id": "campaign-18",
                    "outcome": "accepted",
                    "value": 12.5,
                }
            ]
        },
    )

    decision_id: DecisionId
    offer_id: Id
    outcome: OutcomeName
    value: Number | None = Field(None, description="what it brought, if known")
    occurred_at: AwareDatetime | None = Field(None, description="when it happened, by default now")

    def at_ms(self) -> int | None:
        """``occurred_at`` in Unix milliseconds."""
        return None if self.occurred_at is None else to_ms(self.occurred_at)


class FeedbackAnswer(BaseModel):
    """``recorded``: counts. ``duplicate``: had been counted. ``late``: logged, but not learned from."""

    status: Literal["recorded", "duplicate", "late"]


class FeedbackBatch(Body):
    """Many outcomes; each is answered for itself."""

    items: list[FeedbackRequest] = Field(min_length=1, max_length=1000)


class FeedbackItemAnswer(BaseModel):
    """The answer to one item: a status, or what is wrong with it (``code`` is the HTTP status it would have had)."""

    status: Literal["recorded", "duplicate", "late", "refused"]
    code: int
    reason: str | None = None


class FeedbackBatchAnswer(BaseModel):
    """Answers in the order of the items. Only items with code 503 are worth sending again."""

    items: list[FeedbackItemAnswer]


class ContactLimitBody(Body):
    """At most ``max`` decisions for this offer to one customer in any ``window_s`` seconds."""

    max: int = Field(ge=1, le=1_000_000)
    window_s: int = Field(ge=1, le=366 * 86_400)


class OfferBody(Body):
    """Something that can be proposed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "Spring coupons",
                    "group": "type-a",
                    "value": 4.2,
                    "starts_at": "2026-03-01T00:00:00Z",
                    "ends_at": "2026-04-01T00:00:00Z",
                    "requires_consent": "marketing",
                    "contact_limits": [{"max": 3, "window_s": 604800}],
                }
            ]
        },
    )

    name: Name
    group: Id
    value: Number = Field(1.0, ge=0, description="what an acceptance is worth to the company")
    status: Literal["live", "paused"] = "live"
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime | None = Field(None, description="exclusive")
    requires_consent: Id | None = Field(None, description="the purpose that the customer must have agreed to")
    contact_limits: list[ContactLimitBody] = Field(default_factory=list, max_length=10)

    def stored(self) -> dict[str, Any]:
        """The form that is kept in the catalogue."""
        body = self.model_dump(exclude={"starts_at", "ends_at"})
        body["starts_ms"] = 0 if self.starts_at is None else max(to_ms(self.starts_at), 0)
        body["ends_ms"] = FOREVER_MS if self.ends_at is None else to_ms(self.ends_at)
        return body


class TreatmentBody(Body):
    """How an offer is put in one channel and language."""

    channel: Id
    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    title: Name
    message: Text = ""
    image: Annotated[str, StringConstraints(max_length=2000), AfterValidator(_storable)] | None = None


class GroupBody(Body):
    """A family of offers under a goal."""

    name: Name
    goal: Literal["acquire", "grow", "retain", "serve"]


class PlacementBody(Body):
    """A place that asks."""

    channel: Id
    slots: int = Field(1, ge=1, le=100)
    default_offers: list[Id] = Field(default_factory=list, max_length=100)
    deadline_ms: int = Field(100, ge=1, le=60_000)
    presentation: Literal["implicit", "explicit"] = "implicit"
    reward_window_s: int = Field(7 * 86_400, ge=1, le=366 * 86_400)
    policy: Literal["thompson", "random", "propensity"] = "thompson"
    fallback_policy: Literal["propensity", "random"] = "propensity"
    control_policy: Literal["random", "propensity", "thompson"] = "random"
    control_share: float = Field(0.1, ge=0, le=1, allow_inf_nan=False)
    experiment_salt: Annotated[str, StringConstraints(max_length=64), AfterValidator(_storable)] = ""
    without_history: Literal["withhold", "allow"] = Field(
        "withhold", description="offers with contact limits while the contact history cannot be read"
    )


Scalar = Annotated[str, AfterValidator(_storable)] | Number | bool
Key = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]


class CustomerBody(Body):
    """What is known about a customer. It replaces what was known before."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "attributes": {"age": "35-44", "household_size": 3},
                    "indicators": {"recency_days": 4, "spend_30d": 212.4},
                    "holdings": ["loyalty-card"],
                    "interests": {"coffee": 0.8},
                    "consents": {"marketing": ["web", "email"]},
                }
            ]
        },
    )

    attributes: dict[
        Key, bool | Number | Annotated[str, StringConstraints(max_length=1000), AfterValidator(_storable)]
    ] = Field(default_factory=dict, max_length=200)
    indicators: dict[Key, Number] = Field(default_factory=dict, max_length=200)
    holdings: list[Name] = Field(default_factory=list, max_length=200)
    interests: dict[Key, Number] = Field(default_factory=dict, max_length=500)
    consents: dict[
        Key, list[Annotated[str, StringConstraints(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")]]
    ] = Field(default_factory=dict, max_length=50, description="purpose -> channels, '*' for all")


def to_ms(at: datetime) -> int:
    """Unix milliseconds."""
    return round(at.timestamp() * 1000)


def from_ms(at_ms: int) -> str | None:
    """ISO 8601 in UTC; ``None`` for the ends of time."""
    if at_ms in (0, FOREVER_MS):
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_context(context: Mapping[str, Any], limit: int, size: int) -> None:
    """Raise ``ValueError`` for what cannot be logged: too large, too deep, not finite, NUL characters."""
    if size > limit:
        raise ValueError(f"has {size} bytes; at most {limit} are taken")
    _walk(context, 0)


def _walk(value: Any, depth: int) -> None:
    if depth > 16:
        raise ValueError("is nested more than 16 levels deep")
    if isinstance(value, str):
        _storable(value)
    elif isinstance(value, float):
        if value - value != 0:
            raise ValueError("numbers must be finite")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _storable(key)
            _walk(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _walk(item, depth + 1)
