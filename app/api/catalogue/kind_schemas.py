"""Schemas of the simple kinds of catalogue entries. Field names are those of the catalogue's model."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, TypeAdapter

from app.api.catalogue.article_schemas import ArticleBody
from app.api.catalogue.event_schemas import AggregateBody, ConceptBody, EventTypeBody
from app.api.catalogue.field_types import Clock, Goal, Seconds, TimeZone, Webhook
from app.api.catalogue.holdout_schemas import HoldoutBody
from app.api.catalogue.signal_schemas import ClosingSignalBody
from app.api.catalogue.trigger_schemas import TriggerBody
from app.api.schemas import Body, Cel, DatedBody, Id, Name, Number, PlainName, Text, WarningOut, examples
from app.api.values import attribute_path, form, percentage, seconds
from decisioning.catalog.alert import Watched
from decisioning.model.entities import DEFAULT_HOLD_S, Counts, LegalBasis, Per, Tier
from rules.vocabulary import Classification

Percent = Annotated[float, Field(ge=-100, le=10_000, allow_inf_nan=False), BeforeValidator(percentage)]
ContactKind = Literal["decided", "presented", "clicked", "accepted", "rejected"]

AttributePath = Annotated[
    str, form(r"^(customer|context|offer)(\.[A-Za-z_][A-Za-z0-9_]{0,63}){1,4}$", attribute_path)
]
Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]


class AttributeBody(Body):
    """An attribute that rules may refer to. Its id is its path, such as ``customer.age``."""

    model_config = examples(
        {"type": "string", "description": "where the customer lives", "values": ["north", "south"]}
    )

    type: Literal["string", "number", "int", "bool", "list", "timestamp"]
    description: Text = ""
    unit: Annotated[str, StringConstraints(max_length=40)] | None = None
    values: list[bool | Whole | Number | Name] = Field(default_factory=list, max_length=1000)
    values_from: Literal["reasons"] | None = Field(
        None,
        description="in place of `values`: the reasons of the catalogue; requests that name another are refused",
    )
    classification: Classification = Field(
        "personal",
        description="who may see its values: answers to publishable keys show `public` ones of customers alone;"
        " `sensitive` ones are shown to `ops` and `admin`, and exported only if that is asked for",
    )
    identifier: bool = Field(
        False,
        description="customers are searched for by its value, such as a telephone number or that of a contract;"
        " for a `string` of the customer",
    )


class SegmentBody(Body):
    """A named condition on customers: ``segment.<id>`` in rules."""

    model_config = examples({"when": "customer.age > 30", "description": "grown up"})

    when: Cel
    description: Text = ""


class ContactPolicyBody(Body):
    """At most ``max`` contacts within ``window_s``, then nothing in scope for ``suppress_s`` more."""

    model_config = examples(
        {"name": "two a week", "max": 2, "window_s": 604800, "scope": "group", "outcomes": ["decided"]}
    )

    name: Name
    max: int = Field(ge=1, le=1_000_000)
    window_s: Seconds
    outcomes: list[ContactKind] = Field(["decided"], min_length=1, max_length=5)
    scope: Literal["offer", "group", "goal", "all"] = "offer"
    channels: list[Id] = Field(default_factory=list, max_length=50)
    suppress_s: Annotated[int, BeforeValidator(seconds)] = Field(0, ge=0, le=366 * 86_400)
    applies_to: Id | None = None
    per: Per = Field(
        "customer",
        description="household: the members of the customer's household count together, what is `decided` alone",
    )


class QuietHoursBody(Body):
    """No contact from ``start`` to ``end`` of the customer's own time (attribute ``time_zone``)."""

    model_config = examples(
        {"start": "21:00", "end": "08:00", "channels": ["call"], "time_zone": "Europe/Madrid"}
    )

    start: Clock
    end: Clock
    channels: list[Id] = Field(default_factory=list, max_length=50)
    time_zone: TimeZone = "UTC"


class CapacityBody(Body):
    """At most ``max`` in a period, decided, presented or accepted, of offers that match what is given."""

    model_config = examples(
        {"name": "call-backs", "max": 300, "per": "day", "team": "callback"},
        {
            "name": "vouchers",
            "max": 500,
            "per": "total",
            "group": "type-a",
            "counts": "accepted",
            "overbook": 0,
        },
    )

    name: Name
    max: int = Field(ge=0, le=1_000_000_000)
    per: Literal["hour", "day", "total"] = "day"
    time_zone: TimeZone = "UTC"
    offer: Id | None = None
    group: Id | None = None
    channel: Id | None = None
    team: Id | None = None
    counts: Counts | None = Field(
        None, description="when a unit is used up; null: accepted where a team is named, else decided"
    )
    hold_s: Seconds = Field(
        DEFAULT_HOLD_S,
        description="how long a decision holds a unit while nobody knows what came of it (seconds)",
    )
    overbook: int | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        description="how many more units may be held than are left, if so few are accepted; null: as many as max",
    )
    once_per_customer: bool = Field(
        True, description="what a customer accepts several times of one offer in a period counts once"
    )
    keep_for_value: bool = Field(
        False,
        description="keep what is left for customers of whom more value is expected; not with `per: total`",
    )


class OverrideBody(DatedBody):
    """Offers that come first from ``starts_at`` to ``ends_at``."""

    model_config = examples(
        {
            "reason": "spring campaign",
            "offer": "gold",
            "starts_at": "2026-05-01T00:00:00Z",
            "ends_at": "2026-06-01T00:00:00Z",
        }
    )

    reason: Name
    offer: Id | None = None
    group: Id | None = None


class ContextWeightBody(Body):
    """A goal, a group or an offer that, while ``when`` holds, weighs ``percent`` more (or less)."""

    model_config = examples({"when": "context.placement == 'desk'", "percent": 100, "goal": "retain"})

    when: Cel
    percent: Percent
    goal: Goal | None = None
    group: Id | None = None
    offer: Id | None = None


class ContactLimitBody(Body):
    """At most ``max`` decisions for an offer to one customer in any ``window_s`` seconds."""

    max: int = Field(ge=1, le=1_000_000)
    window_s: Seconds


class RuleBody(Body):
    """A condition (CEL) of an offer. Its name is shown where the offer is stopped by it."""

    name: Name
    tier: Tier = Field(
        description="eligibility: may they ever; applicability: does it make sense now;"
        " suitability: is it right for them"
    )
    when: Cel


class DemandsBody(Body):
    """The demands on an offer, or of each offer of a group or goal."""

    requires_consent: Id | None = Field(None, description="the purpose that the customer must have agreed to")
    legal_basis: LegalBasis = Field(
        "consent",
        description="consent: the customer must have agreed to the purpose; any other: must not have objected",
    )
    contact_limits: list[ContactLimitBody] = Field(
        default_factory=list, max_length=10, description="how often each offer may be put to a customer"
    )
    rules: list[RuleBody] = Field(default_factory=list, max_length=50)


class GoalBody(DemandsBody):
    """A lever on all offers of a goal, in percent, and what is demanded of each of them."""

    model_config = examples(
        {"lever": 25},
        {
            "requires_consent": "marketing",
            "rules": [{"name": "no open complaint", "tier": "suitability", "when": "customer.known"}],
        },
    )

    lever: Percent = 0.0


class SuppressBody(Body):
    """Offers that are not made to the customer any more, and for how long."""

    for_s: Seconds
    scope: Literal["offer", "group", "goal", "channel", "all"] = "offer"


class OutcomeBody(Body):
    """An outcome that feedback may tell, and what it earns. Its id is what feedback calls it."""

    model_config = examples(
        {"name": "Asked for a quote", "reward": 0.3, "place": 50},
        {"name": "Complained", "reward": -10},
        {"name": "Unsubscribed", "reward": -5, "terminal": True},
    )

    name: Text = ""
    reward: Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)] = Field(
        0.0, description="what it earns, or costs if it is negative, in units of your own"
    )
    place: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="where in the funnel it stands: the furthest that was told counts; left out: its reward is added."
        " Accepted and rejected stand at 100 unless they are declared otherwise",
    )
    terminal: bool = Field(False, description="once it was told, no other outcome with a place is taken")
    suppress: list[SuppressBody] = Field(default_factory=list, max_length=10)


class ReasonBody(Body):
    """A reason that feedback may tell with an outcome. Its id is what feedback calls it."""

    model_config = examples({"name": "Too expensive", "suppress": [{"for_s": 2_592_000, "scope": "group"}]})

    name: Text = ""
    suppress: list[SuppressBody] = Field(default_factory=list, max_length=10)


class AlertBody(Body):
    """A watch: its subject, the threshold it fires from, and the webhook that is told. Shown by `GET /v1/alerts`."""

    model_config = examples(
        {"watches": "degraded_share", "placement": "home", "threshold": 0.1},
        {
            "watches": "archive_backlog",
            "threshold": 120,
            "webhook": "https://example.com/hooks/nextbest",
            "secret": "on-call",
        },
    )

    watches: Watched
    placement: Id | None = Field(None, description="this one alone; all if left out")
    offer: Id | None = Field(None, description="this one alone, in each placement")
    capacity: Id | None = Field(None, description="this one alone; all if left out")
    trigger: Id | None = Field(None, description="this one alone; all if left out")
    threshold: Number | None = Field(
        None,
        description="a share; for `archive_backlog` seconds, for `trigger_failures` a number of firings; the default"
        " of what is watched if left out",
    )
    window_s: Seconds | None = Field(None, description="the time that is looked at")
    webhook: Webhook | None = None
    secret: Id | None = Field(
        None, description="the file of `NEXTBEST_WEBHOOK_SECRETS` that holds what requests are signed with"
    )
    description: Text = ""


class KindPublished(BaseModel):
    """The thing, and the version of the catalogue in which it is in force (or gone). Warnings refuse nothing."""

    id: str
    catalog_version: int
    warnings: list[WarningOut] = []


@dataclass(frozen=True)
class KindSchema:
    """The body of a kind, and the type of its ids, as the API takes them. ``for_desk``: agents may read it."""

    body: type[Body]
    id_type: Any = Id
    for_desk: bool = False

    @cached_property
    def ids(self) -> TypeAdapter[str]:
        """The validator of its ids."""
        return TypeAdapter(self.id_type)


# Their routes are made from this; they stand in the documentation in this order.
SIMPLE_KINDS: dict[str, KindSchema] = {
    "attribute": KindSchema(AttributeBody, AttributePath),
    "segment": KindSchema(SegmentBody, PlainName),
    "contact_policy": KindSchema(ContactPolicyBody),
    "quiet_hours": KindSchema(QuietHoursBody),
    "capacity": KindSchema(CapacityBody),
    "override": KindSchema(OverrideBody),
    "context_weight": KindSchema(ContextWeightBody),
    "goal": KindSchema(GoalBody, Goal),
    "outcome": KindSchema(OutcomeBody),
    "reason": KindSchema(ReasonBody),
    "signal": KindSchema(ClosingSignalBody),
    "alert": KindSchema(AlertBody),
    "event": KindSchema(EventTypeBody),
    "aggregate": KindSchema(AggregateBody, PlainName),
    "concept": KindSchema(ConceptBody, PlainName),
    "trigger": KindSchema(TriggerBody),
    "holdout": KindSchema(HoldoutBody),
    "article": KindSchema(ArticleBody, for_desk=True),
}
"""The schemas of the simple kinds by name of the kind."""
