"""The catalogue: what can be offered, how, where and under which rules.

Immutable; a change builds the next one beside it, checked as a whole, and swaps it in.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from zoneinfo import ZoneInfo

from decisioning.catalog.placement_view import PlacementView, build_view
from decisioning.contact.limits import longest_ms
from decisioning.contact.placement_limits import ContactBook
from decisioning.contact.quiet_hours import quiet_of
from decisioning.errors import Invalid, InvalidRule, NotFound
from decisioning.model.deployment import Deployment, check_shares
from decisioning.model.entities import (
    GOALS,
    Capacity,
    ContactPolicy,
    ContextWeight,
    Group,
    Offer,
    Override,
    Placement,
    QuietHours,
    Segment,
    effective_status,
)
from decisioning.treatments.treatment import check_treatment, offer_texts
from rules.errors import RuleError, RulesError
from rules.evaluation import RuleSet
from rules.expression import Checker, Expression, Kind
from rules.vocabulary import Attribute, Vocabulary


@dataclass(frozen=True)
class Catalogue:
    """Everything that is published, at one version. Building one checks it as a whole.

    Raises
    ------
    Invalid
        For the first reference that leads nowhere, and the first expression that is wrong.
    """

    version: int
    groups: Mapping[str, Group] = field(default_factory=dict)
    offers: Mapping[str, Offer] = field(default_factory=dict)
    placements: Mapping[str, Placement] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    contact_policies: Mapping[str, ContactPolicy] = field(default_factory=dict)
    quiet_hours: Mapping[str, QuietHours] = field(default_factory=dict)
    capacities: Mapping[str, Capacity] = field(default_factory=dict)
    overrides: Mapping[str, Override] = field(default_factory=dict)
    context_weights: Mapping[str, ContextWeight] = field(default_factory=dict)
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    goal_levers: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[tuple[str, str], int] = field(default_factory=dict, repr=False)
    views: Mapping[str, PlacementView] = field(init=False, repr=False)
    numbers: Mapping[str, int] = field(init=False, repr=False)
    checker: Checker = field(init=False, repr=False)
    rules: RuleSet = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in self._parts():
            object.__setattr__(self, name, value)

    def _parts(self) -> Iterator[tuple[str, object]]:
        _check_references(self)
        try:
            checker = checker_for(tuple(self.attributes.values()), tuple(sorted(self.segments)))
        except RulesError as error:
            raise Invalid("attributes", str(error)) from None
        yield "checker", checker
        segments = {
            name: self._checked(f"segments.{name}.when", s.when, checker) for name, s in self.segments.items()
        }
        try:
            rules = RuleSet(checker.vocabulary, segments)
        except RulesError as error:
            raise Invalid("segments", str(error)) from None
        yield "rules", rules
        self._check_expressions(checker)
        yield (
            "views",
            MappingProxyType(
                {p.placement_id: self._view(p, checker, rules) for p in self.placements.values()}
            ),
        )
        yield "numbers", MappingProxyType({o.offer_id: o.number for o in self.offers.values()})

    def _view(self, placement: Placement, checker: Checker, rules: RuleSet) -> PlacementView:
        return build_view(
            placement,
            self.offers.values(),
            self.groups,
            self.goal_levers,
            self.overrides.values(),
            self.context_weights.values(),
            lambda offers: ContactBook(
                placement,
                offers,
                self.groups,
                self.contact_policies.values(),
                self.quiet_hours.values(),
                self.history_ms,
                self.offers,
            ),
            checker,
            rules,
        )

    def _check_expressions(self, checker: Checker) -> None:
        for offer in self.offers.values():
            for rule in offer.rules:
                self._checked(f"offers.{offer.offer_id}.rules.{rule.name}", rule.when, checker)
            if offer.value_expression is not None:
                self._checked(
                    f"offers.{offer.offer_id}.value_expression", offer.value_expression, checker, "number"
                )
            self._check_treatments(offer, checker)
        for placement in self.placements.values():
            if placement.when is not None:
                self._checked(f"placements.{placement.placement_id}.when", placement.when, checker)
        for weight in self.context_weights.values():
            self._checked(f"context_weights.{weight.weight_id}.when", weight.when, checker)
            if "offer" in checker.check(weight.when).roots:
                raise Invalid(
                    f"context_weights.{weight.weight_id}.when", "must not refer to the offer; name it instead"
                )

    def _check_treatments(self, offer: Offer, checker: Checker) -> None:
        known = offer_texts(offer, self.groups[offer.group].goal)
        for treatment in offer.treatments:
            prefix = f"offers.{offer.offer_id}.treatments.{treatment.treatment_id}."
            check_treatment(treatment, checker.vocabulary, known, prefix)
            for step in () if treatment.script is None else treatment.script.steps:
                if step.when is not None:
                    self._checked(f"{prefix}script.steps.{step.step_id}.when", step.when, checker)

    @staticmethod
    def _checked(name: str, source: str, checker: Checker, kind: Kind = "condition") -> Expression:
        try:
            return checker.check(source, kind)
        except RuleError as error:
            raise InvalidRule(name, error) from None

    @cached_property
    def history_ms(self) -> int:
        """The longest time for which contacts matter, in ms; 0 if they never do."""
        return longest_ms(self.offers.values(), self.contact_policies.values())

    @cached_property
    def champions(self) -> frozenset[str]:
        """The policies that were made champions of placements, as ``name@version``."""
        return frozenset(d.champion for d in self.deployments.values() if d.champion is not None)

    @cached_property
    def deployed(self) -> frozenset[str]:
        """All policies that have a part in a placement: champions, canaries and shadows."""
        return frozenset(key for deployment in self.deployments.values() for key in deployment.policies)

    def deployment(self, placement_id: str) -> Deployment:
        """The policies of a placement; of one where nothing was ever said about them, an empty deployment."""
        return self.deployments.get(placement_id, Deployment(placement_id))

    def live_offers(self, now_ms: int) -> list[Offer]:
        """The offers that are live at a time."""
        return [offer for offer in self.offers.values() if effective_status(offer, now_ms) == "live"]

    def view(self, placement_id: str) -> PlacementView:
        """The placement and its offers.

        Raises
        ------
        NotFound
            If there is no such placement.
        """
        try:
            return self.views[placement_id]
        except KeyError:
            raise NotFound("placement", placement_id) from None


@lru_cache(maxsize=4)
def checker_for(attributes: tuple[Attribute, ...], segments: tuple[str, ...]) -> Checker:
    """The checker of a vocabulary; it remembers what it has checked, so a new catalogue costs little."""
    return Checker(Vocabulary.of(attributes), segments)


def _check_references(catalogue: Catalogue) -> None:
    groups, offers = catalogue.groups, catalogue.offers
    for offer in offers.values():
        if offer.group not in groups:
            raise Invalid(
                "group", f"there is no group {offer.group!r}; create it with PUT /v1/groups/{offer.group}"
            )
        _offers_exist("not_with", offer.not_with, offers)
        for rule in offer.not_after:
            _offers_exist("not_after.offer", (rule.offer,) if rule.offer else (), offers)
            _groups_exist("not_after.group", (rule.group,) if rule.group else (), groups)
    for placement in catalogue.placements.values():
        _offers_exist("default_offers", placement.default_offers, offers)
        deployment = catalogue.deployments.get(placement.placement_id)
        if deployment is not None:
            check_shares(placement, deployment, "control_share")
    scopes: list[Capacity | Override | ContextWeight] = [
        *catalogue.capacities.values(),
        *catalogue.overrides.values(),
        *catalogue.context_weights.values(),
    ]
    for scoped in scopes:
        _offers_exist("offer", (scoped.offer,) if scoped.offer else (), offers)
        _groups_exist("group", (scoped.group,) if scoped.group else (), groups)
    for hours in catalogue.quiet_hours.values():
        quiet_of(hours)
    for capacity in catalogue.capacities.values():
        _zone_exists(capacity.time_zone)
    for policy in catalogue.contact_policies.values():
        known = {"offer": offers, "group": groups, "goal": GOALS, "all": ()}[policy.scope]
        if policy.applies_to is not None and policy.applies_to not in known:
            raise Invalid("applies_to", f"there is no {policy.scope} {policy.applies_to!r}")


def _zone_exists(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Invalid("time_zone", f"there is no time zone {name!r}") from None


def _offers_exist(name: str, offer_ids: tuple[str, ...], offers: Mapping[str, Offer]) -> None:
    for offer_id in offer_ids:
        if offer_id not in offers:
            raise Invalid(name, f"there is no offer {offer_id!r}")


def _groups_exist(name: str, group_ids: tuple[str, ...], groups: Mapping[str, Group]) -> None:
    for group_id in group_ids:
        if group_id not in groups:
            raise Invalid(name, f"there is no group {group_id!r}")
