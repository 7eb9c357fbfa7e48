"""The catalogue: what can be offered, how, where and under which rules.

Immutable; a change builds the next one beside it, checked as a whole, and swaps it in.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from bandits.sums import OfferGroups
from decisioning.aggregates.matching import compile_definitions
from decisioning.aggregates.vocabulary import derived_attributes
from decisioning.catalog.alert import Alert
from decisioning.catalog.checks import (
    Mistake,
    checker_of_use,
    expression_mistakes,
    new_expression_mistakes,
    reference_mistakes,
    text_mistakes,
)
from decisioning.catalog.kind import Entry, Kind, Sections
from decisioning.catalog.kinds import (
    AGGREGATE,
    ATTRIBUTE,
    CONCEPT,
    EVENT,
    KINDS,
    OFFER,
    OUTCOME,
    REASON,
    SEGMENT,
    TREATMENT,
    ContextWeight,
    Override,
    Segment,
    top_level_kinds,
)
from decisioning.catalog.placement_view import PlacementView, build_view
from decisioning.contact.limits import longest_window_ms
from decisioning.contact.placement_limits import PlacementLimits
from decisioning.contact.signals import PreparedSignal, Signal, named_channels, prepare_signals
from decisioning.errors import Invalid, NotFound
from decisioning.holdouts.holdout import Holdout
from decisioning.model.deployment import Deployment, champion_of
from decisioning.model.entities import (
    Capacity,
    ContactPolicy,
    GoalDemands,
    Group,
    Offer,
    Placement,
    QuietHours,
    Treatment,
    effective_status,
    inherit,
)
from decisioning.model.outcome import DeclaredOutcome, OutcomeRules, Reason
from decisioning.model.trigger import Trigger
from decisioning.treatments.article import Article
from profiles.events.declared import Aggregate, Concept
from profiles.events.definitions import EventDefinitions
from profiles.events.event_type import EventType
from rules.errors import RulesError
from rules.evaluation import RuleSet
from rules.expression import Checker
from rules.history import HistoryCall, calls_among
from rules.vocabulary import HISTORY, Attribute, Vocabulary

T = TypeVar("T")


@dataclass(frozen=True, init=False)
class Catalogue:
    """Everything that is published, at one version: the things of each kind in an attribute, by id.

    ``sections`` of the constructor are named like the sections of ``KINDS``; those that are left out are empty.
    ``versions``: the version of the newest entry of each thing, by kind and id. Building a catalogue checks it as a
    whole.

    Raises ``Invalid`` for the first reference that leads nowhere, and the first expression that is wrong.
    """

    version: int
    groups: Mapping[str, Group]
    offers: Mapping[str, Offer]
    placements: Mapping[str, Placement]
    attributes: Mapping[str, Attribute]
    segments: Mapping[str, Segment]
    contact_policies: Mapping[str, ContactPolicy]
    quiet_hours: Mapping[str, QuietHours]
    capacities: Mapping[str, Capacity]
    overrides: Mapping[str, Override]
    context_weights: Mapping[str, ContextWeight]
    goals: Mapping[str, GoalDemands]
    outcomes: Mapping[str, DeclaredOutcome]
    reasons: Mapping[str, Reason]
    signals: Mapping[str, Signal]
    alert_rules: Mapping[str, Alert]
    event_types: Mapping[str, EventType]
    aggregates: Mapping[str, Aggregate]
    concepts: Mapping[str, Concept]
    triggers: Mapping[str, Trigger]
    holdouts: Mapping[str, Holdout]
    articles: Mapping[str, Article]
    deployments: Mapping[str, Deployment]
    versions: Mapping[tuple[str, str], int] = field(repr=False)
    offer_groups: OfferGroups = field(repr=False)
    views: Mapping[str, PlacementView] = field(repr=False)
    numbers: Mapping[str, int] = field(repr=False)
    checker: Checker = field(repr=False)
    rules: RuleSet = field(repr=False)
    event_definitions: EventDefinitions = field(repr=False)

    def __init__(
        self,
        version: int,
        *,
        versions: Mapping[tuple[str, str], int] | None = None,
        **sections: Mapping[str, Any],
    ) -> None:
        known = {kind.section: sections.pop(kind.section, {}) for kind in top_level_kinds()}
        if sections:
            raise TypeError(f"a catalogue has no sections {', '.join(sorted(sections))}")
        # Past the frozen __setattr__: sections come from the registry of kinds, and the rest is made of them.
        self.__dict__.update(known, version=version, versions={} if versions is None else versions)
        _raise_first(reference_mistakes(known))
        for name, value in self._parts():
            self.__dict__[name] = value

    def _parts(self) -> Iterator[tuple[str, object]]:
        """Yield what is made of the sections; each part may use those before it."""
        try:
            checker = checker_of_sections(self.sections)
        except RulesError as error:
            raise Invalid("attributes", str(error)) from None
        yield "checker", checker
        _raise_first(expression_mistakes(checker, self.sections))
        yield (
            "offers",
            {
                name: inherit(offer, group := self.groups[offer.group], self.goals.get(group.goal))
                for name, offer in self.offers.items()
            },
        )
        _raise_first(text_mistakes(checker, self.sections))
        try:
            segments = {name: checker.check(segment.when) for name, segment in self.segments.items()}
            rules = RuleSet(checker.vocabulary, segments)
        except RulesError as error:
            raise Invalid("segments", str(error)) from None
        yield "rules", rules
        yield "event_definitions", compile_definitions(self.aggregates, self.concepts, self.event_types)
        yield (
            "offer_groups",
            OfferGroups.of({offer.number: offer.group for offer in self.offers.values()}),
        )
        views = {p.placement_id: self._view(p) for p in self.placements.values()}
        yield "views", MappingProxyType(views)
        yield "numbers", MappingProxyType({o.offer_id: o.number for o in self.offers.values()})

    def _view(self, placement: Placement) -> PlacementView:
        return build_view(
            placement,
            self.offers.values(),
            self.groups,
            {name: goal.lever for name, goal in self.goals.items()},
            self.overrides.values(),
            self.context_weights.values(),
            lambda offers: PlacementLimits(
                placement,
                offers,
                self.groups,
                self.contact_policies.values(),
                self.quiet_hours.values(),
                self.history_ms,
                self.offers,
                self.outcome_rules.suppressions(),
                self._prepare_signals if self.signals else None,
            ),
            self.checker,
            self.rules,
            champion_of(placement, self.deployments.get(placement.placement_id)),
            self.offer_groups,
            self.holdouts.values(),
        )

    def _prepare_signals(
        self, offers: Sequence[Offer], goals: Sequence[str], channel: str
    ) -> tuple[PreparedSignal, ...]:
        signals = self.signals.values()
        return prepare_signals(signals, self.reasons, self.checker, self.rules, offers, goals, channel)

    def check_new(self, changes: Iterable[Entry]) -> None:
        """Check the expressions of things that are to be saved.

        Raises ``InvalidRule`` for the first that costs too much, names an unknown time zone, or the like: what an
        earlier version saved is kept nevertheless.
        """
        for kind, name, body in changes:
            if body is not None:
                _raise_first(new_expression_mistakes(self.checker, self.sections, kind, name))

    @property
    def sections(self) -> Sections:
        """The things of all kinds that have a section, by section and id."""
        return {kind.section: self.things(kind) for kind in top_level_kinds()}

    def things(self, kind: Kind[T]) -> Mapping[str, T]:
        """Return the things of a kind that has a section, by id."""
        found: Mapping[str, T] = self.__dict__[kind.section]
        return found

    @cached_property
    def history_ms(self) -> int:
        """The longest time for which contacts matter, in ms; 0 if they never do."""
        asked = [call.within_s * 1000 for call in self._history_calls()]
        asked += [r.for_s * 1000 for rules in self.outcome_rules.suppressions().values() for r in rules]
        asked += [1000 * (signal.lasts_s or 0) for signal in self.signals.values()]
        return max(longest_window_ms(self.offers.values(), self.contact_policies.values()), *asked, 0)

    @cached_property
    def limits_households(self) -> bool:
        """True if contact policies count the members of a household together."""
        return any(policy.per == "household" for policy in self.contact_policies.values())

    @cached_property
    def outcome_rules(self) -> OutcomeRules:
        """The outcomes and reasons that are declared."""
        return OutcomeRules(self.outcomes, self.reasons)

    def _history_calls(self) -> Iterator[HistoryCall]:
        """Yield what rules and logged facts ask of customers' histories."""
        for kind in top_level_kinds():
            if kind.expressions is not None:
                for thing in self.things(kind).values():
                    for use in kind.expressions(thing):
                        if HISTORY in use.source:
                            checker = checker_of_use(self.checker, use, self.sections)
                            yield from checker.check(use.source, use.result).calls.values()
        for placement in self.placements.values():
            yield from calls_among(placement.log_facts)

    @cached_property
    def champions(self) -> frozenset[str]:
        """The policies that were made champions of placements, as ``name@version``."""
        return frozenset(d.champion for d in self.deployments.values() if d.champion is not None)

    @cached_property
    def deployed(self) -> frozenset[str]:
        """All policies that have a part in a placement: champions, canaries and shadows."""
        return frozenset(key for deployment in self.deployments.values() for key in deployment.policies)

    @cached_property
    def channels(self) -> frozenset[str]:
        """All channels that anything in the catalogue names: what a customer can consent or object to."""
        return named_channels(self.sections)

    @cached_property
    def told_reasons(self) -> tuple[tuple[str, ...], ...]:
        """The paths below ``context`` under which requests name a reason of the catalogue."""
        paths = (a.path.split(".") for a in self.attributes.values() if a.values_from is not None)
        return tuple(tuple(path[1:]) for path in paths if path[0] == "context")

    @cached_property
    def customer_types(self) -> Mapping[str, str]:
        """The types that the vocabulary declares for attributes of customers, by name."""
        names = {
            path.removeprefix("customer."): a.type
            for path, a in self.attributes.items()
            if path.startswith("customer.")
        }
        return {name: type_ for name, type_ in names.items() if "." not in name}

    @cached_property
    def identifiers(self) -> tuple[str, ...]:
        """The names of the attributes by which customers are searched for, in their order."""
        return tuple(
            sorted(a.path.removeprefix("customer.") for a in self.attributes.values() if a.identifier)
        )

    def deployment(self, placement_id: str) -> Deployment:
        """Return the policies of a placement; an empty deployment if none was ever published for it."""
        return self.deployments.get(placement_id, Deployment(placement_id))

    def live_offers(self, now_ms: int) -> list[Offer]:
        """The offers that are live at a time."""
        return [offer for offer in self.offers.values() if effective_status(offer, now_ms) == "live"]

    def view(self, placement_id: str) -> PlacementView:
        """Return the view of a placement and its offers. Raises ``NotFound`` if there is no such placement."""
        try:
            return self.views[placement_id]
        except KeyError:
            raise NotFound("placement", placement_id) from None


# It remembers what it has checked, so the next catalogue with the same vocabulary costs little.
@lru_cache(maxsize=4)
def checker_for(
    attributes: tuple[Attribute, ...],
    segments: tuple[str, ...],
    derived: tuple[Attribute, ...] = (),
    outcomes: tuple[str, ...] = (),
) -> Checker:
    """Return the checker of a vocabulary. ``derived``: what events tell; ``outcomes``: those that are declared."""
    return Checker(Vocabulary.of(attributes, derived), segments, outcomes)


def checker_of_sections(sections: Sections) -> Checker:
    """Return the checker of the vocabulary of a catalogue. Raises ``VocabularyError``."""
    derived = derived_attributes(*(sections[kind.section] for kind in (AGGREGATE, CONCEPT, EVENT)))
    reasons, segments = tuple(sorted(sections[REASON.section])), sections[SEGMENT.section]
    attributes = (
        a if a.values_from is None else replace(a, values=reasons)
        for a in sections[ATTRIBUTE.section].values()
    )
    outcomes = tuple(sorted(sections[OUTCOME.section]))
    return checker_for(tuple(attributes), tuple(sorted(segments)), tuple(derived), outcomes)


def build_catalogue(
    version: int,
    entries: Iterable[Entry],
    numbers: Mapping[str, int],
    versions: Mapping[tuple[str, str], int] | None = None,
) -> Catalogue:
    """Make a catalogue of its entries; those without a body are deleted. ``numbers``: offer ids to numbers.

    Raises ``Invalid`` if an entry is not of its kind's shape, or the catalogue as a whole is not right.
    """
    sections, mistakes = load_sections(entries, numbers)
    _raise_first(mistakes)
    return Catalogue(version, versions=versions, **sections)


def load_sections(
    entries: Iterable[Entry], numbers: Mapping[str, int]
) -> tuple[dict[str, dict[str, Any]], list[Mistake]]:
    """Make the things of all kinds by section and id, and the mistakes of entries not of that shape."""
    sections: dict[str, dict[str, Any]] = {kind.section: {} for kind in top_level_kinds()}
    treatments: dict[str, list[Treatment]] = {}
    mistakes: list[Mistake] = []
    # Treatments come first: the offers that they belong to are immutable, and made with them.
    for name_of_kind, name, body in sorted(entries, key=lambda entry: entry[0] != TREATMENT.name):
        if body is None:
            continue
        kind, derived = KINDS[name_of_kind], {}
        if kind is OFFER:
            own = tuple(sorted(treatments.get(name, []), key=lambda t: t.treatment_id))
            derived = {"number": numbers[name], "treatments": own}
        try:
            thing = _load(kind, name, body, derived)
        except Invalid as error:
            mistakes.append(Mistake(kind.name, name, error))
            continue
        if kind is TREATMENT:
            treatments.setdefault(name.partition("/")[0], []).append(thing)
        else:
            sections[kind.section][name] = thing
    return sections, mistakes


def _raise_first(mistakes: Iterable[Mistake]) -> None:
    for mistake in mistakes:
        raise mistake.error from None


def _load(kind: Kind[Any], name: str, body: Mapping[str, Any], derived: Mapping[str, Any]) -> Any:
    try:
        return kind.load(name, body, derived)
    except ValidationError as error:
        path = (kind.name, kind.own_id(name))
        first = error.errors()[0]
        field = ".".join((*path, *(str(part) for part in first["loc"])))
        raise Invalid(field, str(first["msg"])) from None
