"""The kinds of catalogue entries, one descriptor each.

Classes that only the catalogue uses are defined here beside their descriptors; those that other rooms use as well, in
``decisioning.model``. To add a simple kind, add its class and descriptor here, and its body in
``app.api.catalogue.kind_schemas``: building, checks, files, differences and routes follow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from decisioning.aggregates.checks import check_aggregate, check_concept
from decisioning.aggregates.vocabulary import derived_attributes
from decisioning.catalog.alert import Alert, check_alert
from decisioning.catalog.kind import ExpressionUse, Kind, Protective, Sections
from decisioning.catalog.triggers.checks import check_trigger, trigger_expressions
from decisioning.contact.own_history import unknown_subject
from decisioning.contact.quiet_hours import prepare_quiet_hours, zone_of
from decisioning.contact.signals import Signal, check_signal
from decisioning.errors import Invalid, MissingThing, raised
from decisioning.holdouts.holdout import Holdout, check_holdout
from decisioning.model.deployment import Deployment, check_shares
from decisioning.model.entities import (
    FOREVER_MS,
    GOALS,
    Capacity,
    ContactPolicy,
    Goal,
    GoalDemands,
    Group,
    NotAfter,
    Offer,
    Placement,
    QuietHours,
    Treatment,
)
from decisioning.model.outcome import RESERVED, DeclaredOutcome, Reason
from decisioning.model.trigger import Trigger
from decisioning.treatments.article import Article, check_article
from profiles.events.declared import Aggregate, Concept
from profiles.events.event_type import EventType, personal_problems, schema_problem
from rules.history import parse_call
from rules.vocabulary import BUILT_IN, Attribute

MAX_LOGGED_FACTS = 32
MAX_IDENTIFIERS = 8
"""Each has an index on all customers, which is changed with them."""
MAX_PLACE = 1000
INTERESTS = "customer.interests"
"""A fact of every customer, which rules do not know."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A named condition on customers, to be used in rules as ``segment.<name>`` and in reports."""

    segment_id: str
    when: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Override:
    """From ``starts_ms`` to ``ends_ms`` an offer, or a group, comes first, before all that is not overridden."""

    override_id: str
    reason: str
    offer: str | None = None
    group: str | None = None
    starts_ms: int = 0
    ends_ms: int = FOREVER_MS


@dataclass(frozen=True, slots=True)
class ContextWeight:
    """Offers of a goal or group, or one offer, that weigh ``percent`` more (or less) in ``C`` while ``when`` holds."""

    weight_id: str
    when: str
    percent: float
    goal: Goal | None = None
    group: str | None = None
    offer: str | None = None


def _missing(field: str, kind: Kind[Any], name: str | None, things: Sections) -> Iterator[Invalid]:
    if name and name not in things[kind.section]:
        yield MissingThing(field, kind.name, name)


def _check_scope(
    scoped: Capacity | Override | ContextWeight | NotAfter, things: Sections, prefix: str = ""
) -> Iterator[Invalid]:
    yield from _missing(f"{prefix}offer", OFFER, scoped.offer, things)
    yield from _missing(f"{prefix}group", GROUP, scoped.group, things)


def _check_attribute(attribute: Attribute, things: Sections) -> Iterator[Invalid]:
    if attribute.identifier:
        yield from _check_identifier(attribute, things)
    if attribute.values_from is None:
        return
    if attribute.values:
        yield Invalid(
            "values", "the reasons of the catalogue are the values: leave these out, or values_from"
        )
    if attribute.type not in ("string", "list"):
        yield Invalid("type", f"reasons are named by texts: a string or a list, not {attribute.type}")


def _check_identifier(attribute: Attribute, things: Sections) -> Iterator[Invalid]:
    if attribute.type != "string":
        yield Invalid("type", f"customers are searched for by a string, not by a {attribute.type}")
    if not attribute.path.startswith("customer.") or attribute.path.count(".") > 1:
        yield Invalid("identifier", "customers are searched for by attributes of their own: customer.<name>")
    if sum(other.identifier for other in things[ATTRIBUTE.section].values()) > MAX_IDENTIFIERS:
        yield Invalid("identifier", f"at most {MAX_IDENTIFIERS} attributes may be identifiers")


def _check_offer(offer: Offer, things: Sections) -> Iterator[Invalid]:
    if offer.group not in things[GROUP.section]:
        yield MissingThing(
            "group", GROUP.name, offer.group, f"create it with PUT /v1/groups/{offer.group}, or in the file"
        )
    for other in offer.not_with:
        yield from _missing("not_with", OFFER, other, things)
    for rule in offer.not_after:
        yield from _check_scope(rule, things, "not_after.")


def _check_placement(placement: Placement, things: Sections) -> Iterator[Invalid]:
    for offer_id in placement.default_offers:
        yield from _missing("default_offers", OFFER, offer_id, things)
    yield from _check_logged_facts(placement.log_facts, things)
    # The two are changed apart from each other, and either may give away too many customers.
    deployment = things[DEPLOYMENT.section].get(placement.placement_id)
    if deployment is not None:
        yield from raised(check_shares, placement, deployment, "control_share")


def _check_logged_facts(paths: tuple[str, ...], things: Sections) -> Iterator[Invalid]:
    """Yield what is wrong: a path that is no fact of requests, is not declared, or is named twice."""
    if not paths:
        return
    derived = derived_attributes(*(things[kind.section] for kind in (AGGREGATE, CONCEPT, EVENT)))
    declared = {a.path for a in (*BUILT_IN, *things[ATTRIBUTE.section].values(), *derived)} | {INTERESTS}
    if len(paths) > MAX_LOGGED_FACTS:
        yield Invalid("log_facts", f"at most {MAX_LOGGED_FACTS} facts, not {len(paths)}")
    for i, path in enumerate(paths):
        field = f"log_facts.{i}"
        call = parse_call(path)
        if call is not None:
            outcomes = things[OUTCOME.section]
            unknown = unknown_subject(call, things[OFFER.section], things[GROUP.section], outcomes)
            if unknown is not None:
                yield Invalid(field, f"{unknown[0]}{f'; {unknown[1]}' if unknown[1] else ''}")
        elif path.startswith("offer."):
            yield Invalid(field, f"{path!r} is a fact of offers: those of customer. and context. are logged")
        elif path not in declared:
            near = get_close_matches(path, declared, n=1, cutoff=0.75)
            hint = f"did you mean {near[0]!r}?" if near else f"declare it with PUT /v1/attributes/{path}"
            yield Invalid(field, f"{path!r} is not in the vocabulary; {hint}")
        if path in paths[:i]:
            yield Invalid(field, f"{path!r} is named twice")


def _check_contact_policy(policy: ContactPolicy, things: Sections) -> Iterator[Invalid]:
    known = {"offer": things[OFFER.section], "group": things[GROUP.section], "goal": GOALS, "all": ()}
    if policy.applies_to is not None and policy.applies_to not in known[policy.scope]:
        yield MissingThing("applies_to", policy.scope, policy.applies_to)
    if policy.per == "household" and policy.outcomes != ("decided",):
        yield Invalid(
            "outcomes",
            'a policy per household counts what is decided: leave outcomes out, or send "per": "customer"',
        )


def _check_quiet_hours(hours: QuietHours, things: Sections) -> Iterator[Invalid]:
    yield from raised(prepare_quiet_hours, hours)


def _check_capacity(capacity: Capacity, things: Sections) -> Iterator[Invalid]:
    yield from _check_scope(capacity, things)
    if zone_of(capacity.time_zone) is None:
        yield Invalid("time_zone", f"there is no time zone {capacity.time_zone!r}")
    if capacity.keep_for_value and capacity.per == "total":
        yield Invalid(
            "keep_for_value",
            "needs a period whose end is known: give the capacity per day or hour, or leave it out",
        )


def _check_outcome(outcome: DeclaredOutcome, things: Sections) -> Iterator[Invalid]:
    name = outcome.outcome_id
    if name in RESERVED:
        yield Invalid("outcome_id", f"{name!r} is what the log itself says of offers; take another name")
    if name in ("presented", "clicked") and outcome.terminal:
        yield Invalid("terminal", f"{name} cannot end anything: an answer may follow; leave it out")
    if outcome.place is not None and not 1 <= outcome.place <= MAX_PLACE:
        yield Invalid("place", f"is a whole number from 1 to {MAX_PLACE}, or left out for what is added")


def _check_event_type(event_type: EventType, things: Sections) -> Iterator[Invalid]:
    problem = schema_problem(event_type.json_schema)
    if problem is not None:
        yield Invalid(_below("json_schema", problem[0]), problem[1])
        return
    for place, reason in personal_problems(event_type):
        yield Invalid(f"personal.{place}", reason)
    contact = event_type.contact
    if contact is None:
        return
    if contact.group is not None and contact.offer is not None:
        yield Invalid("contact.group", "leave it out: the offer has one")
    yield from _missing("contact.group", GROUP, contact.group, things)
    yield from _missing("contact.offer", OFFER, contact.offer, things)


def _below(field: str, path: str) -> str:
    return f"{field}.{path}" if path else field


def _expressions_of_rules(thing: Offer | Group | GoalDemands) -> Iterator[ExpressionUse]:
    for rule in thing.rules:
        yield ExpressionUse(f"rules.{rule.name}", rule.when)


def _expressions_of_offer(offer: Offer) -> Iterator[ExpressionUse]:
    yield from _expressions_of_rules(offer)
    if offer.value_expression is not None:
        yield ExpressionUse("value_expression", offer.value_expression, "number")
    for treatment in offer.treatments:
        for step in () if treatment.script is None else treatment.script.steps:
            if step.when is not None:
                field = f"treatments.{treatment.treatment_id}.script.steps.{step.step_id}.when"
                yield ExpressionUse(field, step.when)


def _expressions_of_placement(placement: Placement) -> Iterator[ExpressionUse]:
    if placement.when is not None:
        yield ExpressionUse("when", placement.when)


_DEMANDS = (
    Protective("requires_consent", "consent"),
    Protective("legal_basis", "legal_basis"),
    Protective("rules", "rules", (("name",), ("when",))),
    Protective("contact_limits", "limits", (("window_s",),)),
)
"""What an offer, a group and a goal demand."""
_SUPPRESSES = (Protective("suppress", "limits", (("scope",),)),)
"""What is not offered after an outcome, or for a reason."""

ATTRIBUTE = Kind(
    "attribute",
    "attributes",
    "path",
    Attribute,
    check=_check_attribute,
    protective=(Protective("classification", "privacy"),),
)
SEGMENT = Kind(
    "segment",
    "segments",
    "segment_id",
    Segment,
    expressions=lambda segment: [ExpressionUse("when", segment.when)],
)
GROUP = Kind("group", "groups", "group_id", Group, expressions=_expressions_of_rules, protective=_DEMANDS)
OFFER = Kind(
    "offer",
    "offers",
    "offer_id",
    Offer,
    derived={"number": 0, "treatments": (), "inherited": ()},
    defaults={"value": 1.0},
    check=_check_offer,
    expressions=_expressions_of_offer,
    protective=(
        *_DEMANDS,
        Protective("min_propensity", "limits"),
        Protective("not_with", "exclusions"),
        Protective("not_after", "exclusions", (("offer", "group"),)),
        Protective("after_rejection", "exclusions", (("scope", "attribute"),)),
        Protective("team", "capacity"),
        Protective("ends_ms", "end"),
    ),
    in_use=lambda offer: offer.status not in ("draft", "ended"),
    is_over=lambda offer: offer.status == "ended",
)
TREATMENT = Kind(
    "treatment",
    "treatments",
    "treatment_id",
    Treatment,
    parent="offer",
    defaults={"language": "en", "message": ""},
)
PLACEMENT = Kind(
    "placement",
    "placements",
    "placement_id",
    Placement,
    check=_check_placement,
    expressions=_expressions_of_placement,
    protective=(
        Protective("when", "rules"),
        Protective("min_propensity", "limits"),
        Protective("max_per_group", "limits"),
    ),
)
CONTACT_POLICY = Kind(
    "contact_policy",
    "contact_policies",
    "policy_id",
    ContactPolicy,
    check=_check_contact_policy,
    protective=(
        Protective("outcomes", "limits"),
        Protective("suppress_s", "limits"),
        Protective("per", "limits"),
        Protective("scope", "scope"),
        Protective("channels", "scope"),
        Protective("applies_to", "scope"),
    ),
)
QUIET_HOURS = Kind(
    "quiet_hours",
    "quiet_hours",
    "quiet_id",
    QuietHours,
    check=_check_quiet_hours,
    protective=(Protective("channels", "scope"), Protective("time_zone", "time_zone")),
)
CAPACITY = Kind(
    "capacity",
    "capacities",
    "capacity_id",
    Capacity,
    check=_check_capacity,
    protective=(
        *(
            Protective(field, "limits")
            for field in ("per", "counts", "hold_s", "overbook", "once_per_customer", "keep_for_value")
        ),
        Protective("time_zone", "time_zone"),
        *(Protective(field, "scope") for field in ("offer", "group", "channel", "team")),
    ),
)
OVERRIDE = Kind(
    "override",
    "overrides",
    "override_id",
    Override,
    check=_check_scope,
    protective=(Protective("ends_ms", "end"), Protective("offer", "scope"), Protective("group", "scope")),
)
CONTEXT_WEIGHT = Kind(
    "context_weight",
    "context_weights",
    "weight_id",
    ContextWeight,
    check=_check_scope,
    # A weight is computed once for a request, not for each offer.
    expressions=lambda weight: [ExpressionUse("when", weight.when, may_use_offer=False)],
    protective=tuple(Protective(field, "scope") for field in ("goal", "group", "offer")),
)
GOAL = Kind(
    "goal",
    "goals",
    "goal",
    GoalDemands,
    expressions=_expressions_of_rules,
    protective=_DEMANDS,
)
OUTCOME = Kind(
    "outcome", "outcomes", "outcome_id", DeclaredOutcome, check=_check_outcome, protective=_SUPPRESSES
)
REASON = Kind("reason", "reasons", "reason_id", Reason, protective=_SUPPRESSES)
SIGNAL = Kind(
    "signal",
    "signals",
    "signal_id",
    Signal,
    check=check_signal,
    expressions=lambda signal: [ExpressionUse("when", signal.when, may_use_offer=False)],
    protective=(Protective("scope", "scope"), Protective("lasts_s", "limits")),
)
ALERT = Kind("alert", "alert_rules", "alert_id", Alert, check=check_alert)
EVENT = Kind(
    "event",
    "event_types",
    "type_id",
    EventType,
    check=_check_event_type,
    protective=(
        Protective("personal", "privacy"),
        Protective("retention_days", "privacy"),
        Protective("contact", "limits"),
    ),
)
AGGREGATE = Kind("aggregate", "aggregates", "aggregate_id", Aggregate, check=check_aggregate)
CONCEPT = Kind("concept", "concepts", "concept_id", Concept, check=check_concept)
TRIGGER = Kind(
    "trigger",
    "triggers",
    "trigger_id",
    Trigger,
    check=check_trigger,
    expressions=trigger_expressions,
    protective=(
        Protective("when", "rules"),
        Protective("within_s", "limits"),
        Protective("again_after_s", "limits"),
    ),
)
HOLDOUT = Kind(
    "holdout",
    "holdouts",
    "holdout_id",
    Holdout,
    check=check_holdout,
    # Without any of these more is withheld, or for longer.
    protective=(
        Protective("ends_ms", "end"),
        *(Protective(field, "scope") for field in ("goal", "exempt_goals", "exempt_groups")),
    ),
)
ARTICLE = Kind(
    "article",
    "articles",
    "article_id",
    Article,
    check=check_article,
    protective=(Protective("ends_ms", "end"), Protective("channels", "scope")),
)
DEPLOYMENT = Kind("deployment", "deployments", "placement_id", Deployment, in_files=False)

# Sections of files stand in this order, and things are checked in it: segments before what may use them.
KINDS: dict[str, Kind[Any]] = {
    kind.name: kind
    for kind in (
        ATTRIBUTE,
        SEGMENT,
        GROUP,
        OFFER,
        TREATMENT,
        PLACEMENT,
        CONTACT_POLICY,
        QUIET_HOURS,
        CAPACITY,
        OVERRIDE,
        CONTEXT_WEIGHT,
        GOAL,
        OUTCOME,
        REASON,
        SIGNAL,
        ALERT,
        EVENT,
        AGGREGATE,
        CONCEPT,
        TRIGGER,
        HOLDOUT,
        ARTICLE,
        DEPLOYMENT,
    )
}
"""All kinds by name."""


def top_level_kinds() -> list[Kind[Any]]:
    """Return the kinds that are sections of a catalogue, in the order of files."""
    return [kind for kind in KINDS.values() if kind.parent is None]


def section_path(kind: Kind[Any], name: str) -> str:
    """Return the path of a thing in files, differences and messages."""
    if kind.parent is None:
        return f"{kind.section}.{name}"
    parent_id, _, own_id = name.partition("/")
    return f"{KINDS[kind.parent].section}.{parent_id}.{kind.section}.{own_id}"
