"""Schemas of groups, treatments and placements."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from app.api.catalogue.field_types import Goal, Language, Seconds
from app.api.catalogue.kind_schemas import DemandsBody, Percent, Whole
from app.api.schemas import (
    Body,
    Cel,
    EchoedId,
    EchoedWarnings,
    Id,
    Name,
    Number,
    PlainName,
    Text,
    WarningOut,
    examples,
    shown,
    storable,
)
from app.api.values import attribute_path, form, seconds
from decisioning.model.entities import Factor, LegalBasis, TieBreak, Tier

_GROUP = {"name": "Cards", "goal": "grow"}
_DEMANDING_GROUP = _GROUP | {
    "requires_consent": "marketing",
    "contact_limits": [{"max": 3, "window_s": 604_800}],
    "rules": [{"name": "grown up", "tier": "eligibility", "when": "customer.known"}],
}
_TREATMENT = {
    "channel": "web",
    "language": "en",
    "title": "A card that pays you back",
    "message": "2 % on everything, for a year.",
    "image": "https://example.com/gold.png",
    "link": "/cards/gold?from=home",
    "button": "Get it now",
    "legal": "For new customers only.",
}
_PLACEMENT = {
    "channel": "web",
    "slots": 2,
    "default_offers": ["gold"],
    "deadline_ms": 100,
    "presentation": "implicit",
    "reward_window_s": 3600,
}

VariablePath = Annotated[str, form(r"^[A-Za-z_][A-Za-z0-9_.]{0,199}$", attribute_path)]
Fallback = Annotated[str, StringConstraints(max_length=500), AfterValidator(storable)]
Presentation = Literal["implicit", "explicit"]


class ScriptStepBody(Body):
    """A talking point of a script; said only when its condition (CEL) holds."""

    step_id: Id
    text: Text
    when: Text | None = None


class ObjectionBody(Body):
    """An objection of a customer, and what can be answered."""

    objection: Name
    answer: Text


class ScriptBody(Body):
    """A script for an agent who puts an offer: ordered steps, and answers to objections."""

    steps: list[ScriptStepBody] = Field(default_factory=list, max_length=50)
    objections: list[ObjectionBody] = Field(default_factory=list, max_length=50)


class TreatmentBody(Body):
    """The form of an offer in one channel and language.

    Texts may hold variables, ``{{ customer.first_name | title }}``: attributes of the vocabulary, ``offer.name`` and
    ``offer.value``, with the filters upper, lower, title, capitalize, round, default and join.
    """

    model_config = examples(_TREATMENT)

    channel: Id
    language: Language = "en"
    title: Name
    message: Text = ""
    image: Annotated[str, StringConstraints(max_length=2000), AfterValidator(storable)] | None = None
    fallbacks: dict[VariablePath, Fallback] = Field(
        default_factory=dict, max_length=100, description="what stands for a variable that has no value"
    )
    script: ScriptBody | None = Field(None, description="for agents")
    link: (
        Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(storable)] | None
    ) = Field(
        None,
        description="where the button leads: an address, or a path of the same site; it holds no variables",
    )
    button: Name | None = Field(None, description="the text of the button")
    legal: Text | None = Field(None, description="what the law wants to be said")
    attributes: dict[PlainName, bool | Whole | Number | Text] = Field(
        default_factory=dict, max_length=50, description="anything else that the front end needs to know"
    )
    treatment_id: EchoedId = None
    warnings: EchoedWarnings = None


class GroupBody(DemandsBody):
    """A family of offers under a goal, and what is demanded of each of them."""

    model_config = examples(_GROUP, _DEMANDING_GROUP)

    name: Name
    goal: Goal
    lever: Percent = Field(0.0, description="percent more (or less) in the score of all its offers")
    group_id: EchoedId = None
    warnings: EchoedWarnings = None


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
    reward_window_s: Annotated[int, BeforeValidator(seconds)] = Field(7 * 86_400, ge=1, le=366 * 86_400)
    policy: Literal["calibrated", "thompson", "random", "propensity"] = Field(
        "calibrated", description="decides while no other policy is champion here"
    )
    fallback_policy: Literal["propensity", "random"] = "propensity"
    control_policy: Literal["random", "propensity", "thompson", "calibrated"] = "random"
    control_share: float = Field(0.1, ge=0, le=1, allow_inf_nan=False)
    experiment_salt: Annotated[str, StringConstraints(max_length=64), AfterValidator(storable)] = ""
    without_history: Literal["withhold", "allow"] = Field(
        "withhold", description="offers with contact limits while the contact history cannot be read"
    )
    confirm_within_s: Seconds = Field(
        900, description="explicit: what is not confirmed as presented by then gives back what it reserved"
    )
    fill_with_defaults: bool = Field(
        False, description="where fewer offers are chosen than there are slots, default offers follow them"
    )
    log_facts: list[Annotated[str, StringConstraints(max_length=200)]] = Field(
        default_factory=list,
        max_length=32,
        description="paths of declared attributes (`customer.` or `context.`) that are logged with each decision"
        " from now on, beside those that policies learn from, so that features of them can be evaluated later",
    )
    off: list[Factor] = Field(
        default_factory=list,
        max_length=4,
        description="factors of the score that are switched off: propensity, context, value, lever",
    )
    when: Cel | None = Field(None, description="nothing is offered unless this condition (CEL) holds")
    min_propensity: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    max_per_group: int | None = Field(None, ge=1, le=100, description="offers of one group in an answer")
    tie_break: TieBreak = "oldest"
    placement_id: EchoedId = None
    warnings: EchoedWarnings = None


class CatalogueContactLimit(BaseModel):
    """At most ``max`` decisions in any ``window_s`` seconds."""

    max: int
    window_s: int


class CatalogueRule(BaseModel):
    """A condition of an offer, as it is in force."""

    name: str
    tier: Tier
    when: str


class CatalogueDemands(BaseModel):
    """The demands on an offer, or of each offer of a group or goal, as it is in force."""

    requires_consent: str | None = None
    legal_basis: LegalBasis = "consent"
    contact_limits: list[CatalogueContactLimit] = []
    rules: list[CatalogueRule] = []


class CatalogueGroup(CatalogueDemands):
    """A group, as it is in force."""

    model_config = shown({"group_id": "cards"} | _GROUP)

    group_id: str
    name: str
    goal: Goal
    lever: float = 0.0


class PatchedGroup(CatalogueGroup):
    """A group, as a patch made it, and warnings about that."""

    warnings: list[WarningOut] = []


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
    link: str | None = None
    button: str | None = None
    legal: str | None = None
    attributes: dict[str, bool | int | float | str] = {}


class PatchedTreatment(CatalogueTreatment):
    """A treatment, as a patch made it, and warnings about that."""

    warnings: list[WarningOut] = []


class CataloguePlacement(BaseModel):
    """A placement, as it is in force."""

    model_config = shown(
        {"placement_id": "home"}
        | _PLACEMENT
        | {"policy": "calibrated", "fallback_policy": "propensity", "control_policy": "random"}
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
    confirm_within_s: int = 900
    off: list[Factor] = []
    when: str | None = None
    min_propensity: float = 0.0
    max_per_group: int | None = None
    tie_break: TieBreak = "oldest"
    fill_with_defaults: bool = False
    log_facts: list[str] = []


class PatchedPlacement(CataloguePlacement):
    """A placement, as a patch made it, and warnings about that."""

    warnings: list[WarningOut] = []


class GroupPublished(BaseModel):
    """The version of the catalogue in which the group is in force."""

    model_config = shown({"group_id": "cards", "catalog_version": 1, "warnings": []})

    group_id: str
    catalog_version: int
    warnings: list[WarningOut] = []


class TreatmentPublished(BaseModel):
    """The version of the catalogue in which the treatment is in force."""

    model_config = shown({"offer_id": "gold", "treatment_id": "banner", "catalog_version": 3, "warnings": []})

    offer_id: str
    treatment_id: str
    catalog_version: int
    warnings: list[WarningOut] = []


class PlacementPublished(BaseModel):
    """The version of the catalogue in which the placement is in force."""

    model_config = shown({"placement_id": "home", "catalog_version": 4, "warnings": []})

    placement_id: str
    catalog_version: int
    warnings: list[WarningOut] = []
