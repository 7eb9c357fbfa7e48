"""The catalogue, as it travels."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationInfo, field_validator

from app.api.schemas import Body, Id, Instant, Name, Text, Worth, examples, from_ms, shown, storable, to_ms
from decisioning.catalog.model import FOREVER_MS, Offer

_GROUP = {"name": "Cards", "goal": "grow"}
_OFFER = {
    "name": "Spring coupons",
    "group": "type-a",
    "value": 4.2,
    "starts_at": "2026-03-01T00:00:00Z",
    "ends_at": "2026-04-01T00:00:00Z",
    "requires_consent": "marketing",
    "contact_limits": [{"max": 3, "window_s": 604_800}],
}
_TREATMENT = {
    "channel": "web",
    "language": "en",
    "title": "A card that pays you back",
    "message": "2 % on everything, for a year.",
    "image": "https://example.com/gold.png",
}
_PLACEMENT = {
    "channel": "web",
    "slots": 2,
    "default_offers": ["gold"],
    "deadline_ms": 100,
    "presentation": "implicit",
    "reward_window_s": 3600,
}

VariablePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,199}$")]
Fallback = Annotated[str, StringConstraints(max_length=500), AfterValidator(storable)]
Goal = Literal["acquire", "grow", "retain", "serve"]
Status = Literal["live", "paused"]
Presentation = Literal["implicit", "explicit"]


class ContactLimitBody(Body):
    """At most ``max`` decisions for this offer to one customer in any ``window_s`` seconds."""

    max: int = Field(ge=1, le=1_000_000)
    window_s: int = Field(ge=1, le=366 * 86_400)


class OfferBody(Body):
    """Something that can be proposed."""

    model_config = examples(_OFFER)

    name: Name
    group: Id
    value: Worth = Field(1.0, description="what an acceptance is worth to the company")
    status: Status = "live"
    starts_at: Instant | None = None
    ends_at: Instant | None = Field(None, description="exclusive")
    requires_consent: Id | None = Field(None, description="the purpose that the customer must have agreed to")
    contact_limits: list[ContactLimitBody] = Field(default_factory=list, max_length=10)

    @field_validator("ends_at")
    @classmethod
    def _after_the_start(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("starts_at")
        if value is not None and start is not None and value <= start:
            raise ValueError("must lie after starts_at")
        return value

    def stored(self) -> dict[str, Any]:
        """The form that is kept in the catalogue."""
        body = self.model_dump(exclude={"starts_at", "ends_at"})
        body["starts_ms"] = 0 if self.starts_at is None else max(to_ms(self.starts_at), 0)
        body["ends_ms"] = FOREVER_MS if self.ends_at is None else to_ms(self.ends_at)
        return body


class ScriptStepBody(Body):
    """A talking point of a script; said only when its condition (CEL) holds."""

    step_id: Id
    text: Text
    when: Text | None = None


class ObjectionBody(Body):
    """What a customer may object, and what can be answered."""

    objection: Name
    answer: Text


class ScriptBody(Body):
    """How an agent puts an offer: ordered steps, and answers to objections."""

    steps: list[ScriptStepBody] = Field(default_factory=list, max_length=50)
    objections: list[ObjectionBody] = Field(default_factory=list, max_length=50)


class TreatmentBody(Body):
    """How an offer is put in one channel and language.

    Texts may hold variables, ``{{ customer.first_name | title }}``: attributes of the vocabulary, ``offer.name`` and
    ``offer.value``, with the filters upper, lower, title, capitalize, round, default and join.
    """

    model_config = examples(_TREATMENT)

    channel: Id
    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    title: Name
    message: Text = ""
    image: Annotated[str, StringConstraints(max_length=2000), AfterValidator(storable)] | None = None
    fallbacks: dict[VariablePath, Fallback] = Field(
        default_factory=dict, max_length=100, description="what stands for a variable that has no value"
    )
    script: ScriptBody | None = Field(None, description="for agents")


class GroupBody(Body):
    """A family of offers under a goal."""

    model_config = examples(_GROUP)

    name: Name
    goal: Goal


class PlacementBody(Body):
    """A place that asks."""

    model_config = examples(_PLACEMENT)

    channel: Id
    slots: int = Field(1, ge=1, le=100)
    default_offers: list[Id] = Field(default_factory=list, max_length=100)
    deadline_ms: int = Field(100, ge=1, le=60_000)
    presentation: Presentation = Field(
        "implicit",
        description="implicit: being in the answer is being seen; explicit: the caller confirms it",
    )
    reward_window_s: int = Field(7 * 86_400, ge=1, le=366 * 86_400)
    policy: Literal["thompson", "random", "propensity"] = "thompson"
    fallback_policy: Literal["propensity", "random"] = "propensity"
    control_policy: Literal["random", "propensity", "thompson"] = "random"
    control_share: float = Field(0.1, ge=0, le=1, allow_inf_nan=False)
    experiment_salt: Annotated[str, StringConstraints(max_length=64), AfterValidator(storable)] = ""
    without_history: Literal["withhold", "allow"] = Field(
        "withhold", description="offers with contact limits while the contact history cannot be read"
    )


class CatalogueGroup(BaseModel):
    """A group, as it is in force."""

    model_config = shown({"group_id": "cards"} | _GROUP)

    group_id: str
    name: str
    goal: Goal


class ContactLimitOut(BaseModel):
    """At most ``max`` decisions in any ``window_s`` seconds."""

    max: int
    window_s: int


class CatalogueStep(BaseModel):
    """A step of a script, as it is in force."""

    step_id: str
    text: str
    when: str | None


class CatalogueObjection(BaseModel):
    """An objection with its answer, as it is in force."""

    objection: str
    answer: str


class CatalogueScript(BaseModel):
    """A script, as it is in force."""

    steps: list[CatalogueStep]
    objections: list[CatalogueObjection]


class CatalogueTreatment(BaseModel):
    """A treatment, as it is in force."""

    treatment_id: str
    channel: str
    language: str
    title: str
    message: str
    image: str | None
    fallbacks: dict[str, str] = {}
    script: CatalogueScript | None = None


class CatalogueOffer(BaseModel):
    """An offer, as it is in force, with its treatments. ``number`` stands for it in the log."""

    model_config = shown(
        {"offer_id": "spring", "number": 1, "status": "live"}
        | _OFFER
        | {"treatments": [{"treatment_id": "banner"} | _TREATMENT]}
    )

    offer_id: str
    number: int
    name: str
    group: str
    value: float
    status: Status
    starts_at: datetime | None
    ends_at: datetime | None
    requires_consent: str | None
    contact_limits: list[ContactLimitOut]
    treatments: list[CatalogueTreatment]

    @classmethod
    def of(cls, offer: Offer) -> "CatalogueOffer":
        """An offer of the catalogue, with times in place of milliseconds."""
        return cls(
            offer_id=offer.offer_id,
            number=offer.number,
            name=offer.name,
            group=offer.group,
            value=offer.value,
            status=offer.status,
            starts_at=None if offer.starts_ms == 0 else from_ms(offer.starts_ms),
            ends_at=None if offer.ends_ms == FOREVER_MS else from_ms(offer.ends_ms),
            requires_consent=offer.requires_consent,
            contact_limits=[ContactLimitOut(max=w.max, window_s=w.window_s) for w in offer.contact_limits],
            treatments=[CatalogueTreatment.model_validate(t, from_attributes=True) for t in offer.treatments],
        )


class CataloguePlacement(BaseModel):
    """A placement, as it is in force."""

    model_config = shown(
        {"placement_id": "home"}
        | _PLACEMENT
        | {"policy": "thompson", "fallback_policy": "propensity", "control_policy": "random"}
        | {"control_share": 0.1, "experiment_salt": "", "without_history": "withhold"}
    )

    placement_id: str
    channel: str
    slots: int
    default_offers: list[str]
    deadline_ms: int
    presentation: Presentation
    reward_window_s: int
    policy: str
    fallback_policy: str
    control_policy: str
    control_share: float
    experiment_salt: str
    without_history: str


class GroupPublished(BaseModel):
    """The version of the catalogue in which the group is in force."""

    model_config = shown({"group_id": "cards", "catalog_version": 1})

    group_id: str
    catalog_version: int


class OfferPublished(BaseModel):
    """The version of the catalogue in which the offer is in force."""

    model_config = shown({"offer_id": "gold", "catalog_version": 2})

    offer_id: str
    catalog_version: int


class TreatmentPublished(BaseModel):
    """The version of the catalogue in which the treatment is in force."""

    model_config = shown({"offer_id": "gold", "treatment_id": "banner", "catalog_version": 3})

    offer_id: str
    treatment_id: str
    catalog_version: int


class PlacementPublished(BaseModel):
    """The version of the catalogue in which the placement is in force."""

    model_config = shown({"placement_id": "home", "catalog_version": 4})

    placement_id: str
    catalog_version: int
