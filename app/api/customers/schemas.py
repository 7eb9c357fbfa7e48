"""Customers, as they travel."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, WithJsonSchema

from app.api.schemas import Body, CustomerId, Echo, EchoedId, Instant, Number, examples, shown, storable
from app.api.suppressions.schemas import SUPPRESSION_EXAMPLE, SuppressionOut
from app.api.values import channel, form
from profiles.limits import (
    BEYOND_64_BITS,
    MAX_ENTRIES,
    MAX_ID_CHARS,
    MAX_INT,
    MAX_NAME_CHARS,
    MAX_TEXT_CHARS,
    MIN_INT,
    text_problem,
)
from profiles.privacy.consent_records import MAX_PROOF_CHARS, MAX_SOURCE_CHARS, Statement, StatementKind

_CUSTOMER = {
    "attributes": {"age": 41, "household_size": 3},
    "indicators": {"recency_days": 4, "spend_30d": 212.4},
    "holdings": ["loyalty-card"],
    "interests": {"coffee": 0.8},
    "household_id": "H-77",
    "consents": {"marketing": ["web", "email"]},
    "objections": {"profiling": ["*"]},
}
STATEMENT_EXAMPLE = {
    "kind": "consent",
    "purpose": "marketing",
    "channel": "email",
    "given": True,
    "at": "2026-03-01T09:30:00Z",
    "source": "web form",
    "proof": "form 4711",
    "expires_at": "2028-03-01T00:00:00Z",
}


def _check_scalar(value: Any) -> bool | int | float | str:
    """Check that a value is text, a number, true or false. Raises ``ValueError`` for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Whole numbers stay whole: a float would change those beyond 2^53.
        if not MIN_INT <= value <= MAX_INT:
            raise ValueError(BEYOND_64_BITS)
        return value
    if isinstance(value, float):
        if value - value != 0:  # inf or nan
            raise ValueError("must be a finite number")
        return value
    if not isinstance(value, str):
        raise ValueError("must be text, a number, true or false")
    if problem := text_problem(value, MAX_TEXT_CHARS):
        raise ValueError(problem)
    return value


Scalar = Annotated[
    Any,
    AfterValidator(_check_scalar),
    WithJsonSchema(
        {"anyOf": [{"type": "boolean"}, {"type": "number"}, {"type": "string", "maxLength": MAX_TEXT_CHARS}]}
    ),
]
Key = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(storable)]
Channel = Annotated[str, form(r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$", channel)]
Holding = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS), AfterValidator(storable)]


class ConsentBody(Body):
    """A consent or an objection with source, time and proof. It comes to what there is, and the newest counts."""

    model_config = examples(STATEMENT_EXAMPLE)

    kind: StatementKind = "consent"
    purpose: Key
    channel: Channel = Field(description="a channel of the catalogue, '*' for all")
    given: bool = Field(
        description="false: a consent that is withdrawn or was refused, an objection that is lifted"
    )
    at: Instant | None = Field(
        None, description="when it was stated; now if left out, and then it is new each time"
    )
    source: Annotated[str, StringConstraints(max_length=MAX_SOURCE_CHARS), AfterValidator(storable)] = Field(
        "", description="where it was stated, such as a web form or a branch"
    )
    proof: Annotated[str, StringConstraints(max_length=MAX_PROOF_CHARS), AfterValidator(storable)] = Field(
        "", description="where that can be looked up: a reference, a hash, a URL"
    )
    expires_at: Instant | None = Field(None, description="when a consent ends; no consent from then on")

    def statement(self) -> Statement:
        """Return it as it is stored."""
        return Statement(**self.model_dump())


class CustomerBody(Body):
    """Everything that is known about a customer. It replaces what was known before.

    What an answer shows beyond that may be sent back: propensities and suppressions must be those that are in force.
    """

    model_config = examples(_CUSTOMER)

    attributes: dict[Key, Scalar] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    indicators: dict[Key, Number] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    holdings: list[Holding] = Field(default_factory=list, max_length=MAX_ENTRIES)
    interests: dict[Key, Number] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    consents: dict[Key, Annotated[list[Channel], Field(max_length=MAX_ENTRIES)]] = Field(
        default_factory=dict,
        max_length=MAX_ENTRIES,
        description="purpose -> channels, '*' for all; no channels at all are an objection to all of them",
    )
    objections: dict[Key, Annotated[list[Channel], Field(min_length=1, max_length=MAX_ENTRIES)]] = Field(
        default_factory=dict,
        max_length=MAX_ENTRIES,
        description="purpose -> channels of the catalogue, '*' for all. A channel that is named counts more than '*', "
        "and an objection more than a consent",
    )
    consent_records: list[ConsentBody] = Field(
        default_factory=list,
        max_length=MAX_ENTRIES,
        description="consents and objections with source, time and proof. Alone, without `consents` and `objections`, "
        "they leave what is in force of other channels as it is",
    )
    household_id: CustomerId | None = Field(
        None, description="whose members contact policies of `per: household` count together; null: none"
    )
    customer_id: EchoedId = None
    propensities: Annotated[dict[str, Number] | None, Echo()] = None
    suppressions: Annotated[list[dict[str, Any]] | None, Echo()] = None


class CustomerStored(BaseModel):
    """The customer's record is in force."""

    model_config = shown({"customer_id": "1025"})

    customer_id: str


class CustomerOut(BaseModel):
    """A customer with the precomputed propensities, by offer."""

    model_config = shown(
        {"customer_id": "1025"}
        | _CUSTOMER
        | {"propensities": {"gold": 0.12}, "suppressions": [SUPPRESSION_EXAMPLE]}
    )

    customer_id: str = Field(
        description="whose record it is: if another id was asked for, that one is an alias of this customer"
    )
    attributes: dict[str, bool | int | float | str]
    indicators: dict[str, float]
    holdings: list[str]
    interests: dict[str, float]
    consents: dict[str, list[str]]
    objections: dict[str, list[str]]
    household_id: str | None
    propensities: dict[str, float]
    suppressions: list[SuppressionOut] = Field(description="entries in suppression lists, ended ones too")
