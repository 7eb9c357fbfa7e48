"""A placement and its offers as arrays, so that a request touches vectors and not objects."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bandits.policy import BoolArray, FloatArray, IntArray
from bandits.sums import OfferGroups
from decisioning.catalog.kinds import ContextWeight, Override
from decisioning.contact.own_history import OwnHistory
from decisioning.contact.placement_limits import PlacementLimits
from decisioning.holdouts.holdout import Holdout
from decisioning.model.entities import (
    FOREVER_MS,
    TIERS,
    Group,
    Offer,
    Placement,
    Tier,
    percent,
)
from decisioning.model.weights import Weights, switched_off
from decisioning.treatments.treatment import PreparedTreatment, prepare_treatment
from rules.evaluation import Plan, RuleSet
from rules.expression import Checker, Expression
from rules.history import calls_among


@dataclass(frozen=True, slots=True)
class TierConditions:
    """The conditions of one tier of rules, and the offers that require them.

    ``shared``: the distinct expressions on customer, context and now; ``requires``: shape ``(len(shared), n)``.
    ``own``: row and expression of those that refer to the offer itself.
    """

    shared: tuple[Expression, ...]
    requires: BoolArray
    own: tuple[tuple[int, Expression], ...]


@dataclass(frozen=True, slots=True)
class PlacementView:
    """A placement with the offers that may appear in it, as parallel arrays of length ``n``.

    The order is the placement's tie-break. ``conditions``: of the tiers of rules that any offer has. ``starts_ms``
    and ``ends_ms``: int64. ``consents``: for each purpose, whether consent is needed or only the absence of an
    objection, and the rows. ``values``: rows whose value is computed. ``weights``: context weights with the percent
    that they give each row. ``overrides``: from, to, rows. ``mutually_exclusive``: for each row, the rows that must
    not appear beside it. ``groups``: the group of each row, as a number. ``treatments``: for each row its treatments
    for the channel, by id. ``base_weights``: the weights without context weights and computed values.
    ``dynamic``: true if ``C`` or ``V`` depends on the request, so that a replay needs them logged.
    ``has_slot_rules``: true if anything but the policy decides who runs for a slot. ``has_min_propensity``: true if
    there is any minimum propensity. ``champion``: the policy that decides for most customers (``name@version``).
    ``offer_groups``: the groups of all offers of the catalogue, of this placement or not, by which policies learn.
    ``own_history``: what rules, and the facts that are logged, ask of the customer's history; ``None`` if nothing.
    ``held_out``: for each hold-out the rows that it withholds. ``asks_events``: true if rules, signals or segments look
    at what events tell, whatever they find.
    """

    placement: Placement
    offers: tuple[Offer, ...]
    numbers: IntArray
    value: FloatArray
    lever: FloatArray
    starts_ms: NDArray[np.int64]
    ends_ms: NDArray[np.int64]
    always: BoolArray = field(repr=False)
    consents: tuple[tuple[str, bool, BoolArray], ...]
    conditions: Mapping[Tier, TierConditions]
    when: Expression | None
    values: tuple[tuple[int, Expression], ...]
    weights: tuple[tuple[Expression, FloatArray], ...]
    mandatory: BoolArray
    overrides: tuple[tuple[int, int, BoolArray], ...]
    min_propensity: FloatArray
    groups: NDArray[np.intp]
    goals: tuple[str, ...]
    mutually_exclusive: Mapping[int, BoolArray]
    contact: PlacementLimits
    treatments: tuple[tuple[PreparedTreatment, ...], ...] = field(repr=False)
    plan: Plan
    base_weights: Weights = field(repr=False)
    dynamic: bool
    has_slot_rules: bool
    has_min_propensity: bool
    champion: str
    offer_groups: OfferGroups = field(repr=False)
    own_history: OwnHistory | None = field(repr=False)
    held_out: Mapping[str, BoolArray] = field(repr=False)
    asks_events: bool


def build_view(
    placement: Placement,
    offers: Iterable[Offer],
    groups: Mapping[str, Group],
    levers: Mapping[str, float],
    overrides: Iterable[Override],
    weights: Iterable[ContextWeight],
    contact: Callable[[Sequence[Offer]], PlacementLimits],
    checker: Checker,
    rules: RuleSet,
    champion: str,
    offer_groups: OfferGroups,
    holdouts: Iterable[Holdout] = (),
) -> PlacementView:
    """Lay out a placement's offers. ``levers``: percent by goal. Every expression has been checked before.

    ``contact`` makes the contact policy of the offers in the order of the rows.
    """
    here = _offers_in_channel(placement, offers)
    starts, ends = (
        np.array(ms, dtype=np.int64) for ms in ([o.starts_ms for o in here], [o.ends_ms for o in here])
    )
    conditions = _collect_conditions(here, checker)
    when = None if placement.when is None else checker.check(placement.when)
    values = _value_expressions(here, checker)
    percents = tuple((checker.check(w.when), _percent_by_row(w, here, groups)) for w in weights)
    treatments = _prepare_treatments(here, placement.channel, checker)
    override_rows = tuple((o.starts_ms, o.ends_ms, _override_rows(o, here)) for o in overrides)
    minimum = np.array([max(o.min_propensity, placement.min_propensity) for o in here], dtype=np.float64)
    mutually_exclusive = _exclusive_rows(here)
    mandatory = np.array([o.mandatory for o in here], dtype=bool)
    # All segments, whether rules name them or not: decisions log those that the customer is in.
    limits = contact(here)
    wanted = _all_expressions(conditions, values, percents, treatments, when)
    wanted += [prepared.condition for prepared in limits.signals]
    plan = rules.plan(wanted, all_segments=True)
    value = np.array([o.value for o in here], dtype=np.float64)
    lever = np.array([_lever_factor(o, groups[o.group], levers) for o in here], dtype=np.float64)
    return PlacementView(
        placement=placement,
        offers=tuple(here),
        # As they are logged: four bytes a candidate.
        numbers=np.array([o.number for o in here], dtype=np.uint32),
        value=value,
        lever=lever,
        starts_ms=starts,
        ends_ms=ends,
        always=(starts == 0) & (ends == FOREVER_MS),
        consents=_collect_consents(here),
        conditions=conditions,
        when=when,
        values=values,
        weights=percents,
        mandatory=mandatory,
        overrides=override_rows,
        min_propensity=minimum,
        goals=tuple(groups[o.group].goal for o in here),
        groups=np.unique([o.group for o in here], return_inverse=True)[1].astype(np.intp),
        mutually_exclusive=mutually_exclusive,
        contact=limits,
        treatments=treatments,
        plan=plan,
        base_weights=switched_off(placement, np.ones(len(here)), value, lever),
        dynamic=bool(values or percents),
        has_slot_rules=_has_slot_rules(placement, mandatory, mutually_exclusive, override_rows),
        has_min_propensity=bool((minimum > 0).any()),
        champion=champion,
        offer_groups=offer_groups,
        own_history=_own_history(plan, placement, offers),
        held_out=_held_out_rows(holdouts, here, groups),
        asks_events=not {"events", "interests"}.isdisjoint(plan.roots),
    )


def _held_out_rows(
    holdouts: Iterable[Holdout], offers: list[Offer], groups: Mapping[str, Group]
) -> Mapping[str, BoolArray]:
    return MappingProxyType(
        {
            holdout.holdout_id: np.array(
                [holdout.withholds(groups[o.group].goal, o.group) for o in offers], dtype=bool
            )
            for holdout in holdouts
        }
    )


def _own_history(plan: Plan, placement: Placement, offers: Iterable[Offer]) -> OwnHistory | None:
    calls = [*plan.history, *calls_among(placement.log_facts)]
    if not calls:
        return None
    named = {call.name for call in calls if call.scope == "offer"}
    return OwnHistory(calls, {o.offer_id: o.number for o in offers if o.offer_id in named})


def _all_expressions(
    conditions: Mapping[Tier, TierConditions],
    values: Iterable[tuple[int, Expression]],
    weights: Iterable[tuple[Expression, FloatArray]],
    treatments: Iterable[Iterable[PreparedTreatment]],
    when: Expression | None,
) -> list[Expression]:
    """Return all expressions that are evaluated for a request."""
    shared = [e for tier in conditions.values() for e in tier.shared]
    own = [e for tier in conditions.values() for _, e in tier.own]
    in_scripts = [e for row in treatments for prepared in row for e in prepared.conditions]
    found = [*shared, *own, *(e for _, e in values), *(e for e, _ in weights), *in_scripts]
    return found if when is None else [*found, when]


def _offers_in_channel(placement: Placement, offers: Iterable[Offer]) -> list[Offer]:
    """Return the offers that may appear in a placement, in the order of its tie-break."""
    # Scheduled ones are in the view beforehand: their start needs no new catalogue, only the clock.
    live = (o for o in offers if o.status in ("live", "scheduled"))
    here = (o for o in live if any(t.channel == placement.channel for t in o.treatments))
    return sorted(here, key=_ORDERS[placement.tie_break])


def _has_slot_rules(
    placement: Placement,
    mandatory: BoolArray,
    mutually_exclusive: Mapping[int, BoolArray],
    overrides: tuple[tuple[int, int, BoolArray], ...],
) -> bool:
    if mutually_exclusive or overrides or placement.max_per_group is not None:
        return True
    return bool(mandatory.any())


def _prepare_treatments(
    offers: list[Offer], channel: str, checker: Checker
) -> tuple[tuple[PreparedTreatment, ...], ...]:
    """Prepare the treatments of a channel, for each offer."""
    return tuple(
        tuple(prepare_treatment(t, checker) for t in offer.treatments if t.channel == channel)
        for offer in offers
    )


def _value_expressions(offers: list[Offer], checker: Checker) -> tuple[tuple[int, Expression], ...]:
    return tuple(
        (row, checker.check(o.value_expression, "number"))
        for row, o in enumerate(offers)
        if o.value_expression is not None
    )


def _percent_by_row(weight: ContextWeight, offers: list[Offer], groups: Mapping[str, Group]) -> FloatArray:
    return np.array([weight.percent * _concerns(weight, offer, groups) for offer in offers], dtype=np.float64)


_ORDERS = {
    "oldest": lambda o: (o.number,),
    "newest": lambda o: (-o.number,),
    "value": lambda o: (-o.value, o.number),
}


def _override_rows(override: Override, offers: list[Offer]) -> BoolArray:
    return np.array([o.offer_id == override.offer or o.group == override.group for o in offers], dtype=bool)


def _lever_factor(offer: Offer, group: Group, levers: Mapping[str, float]) -> float:
    return percent(offer.lever, group.lever, levers.get(group.goal, 0.0))


def _concerns(weight: ContextWeight, offer: Offer, groups: Mapping[str, Group]) -> bool:
    return (
        weight.offer in (None, offer.offer_id)
        and weight.group in (None, offer.group)
        and weight.goal in (None, groups[offer.group].goal)
    )


def _collect_consents(offers: list[Offer]) -> tuple[tuple[str, bool, BoolArray], ...]:
    found: set[tuple[str, bool]] = set()
    for offer in offers:
        found |= _purposes(offer)
    return tuple(
        (
            purpose,
            needed,
            np.array(
                [(purpose, needed) in _purposes(o) for o in offers],
                dtype=bool,
            ),
        )
        for purpose, needed in sorted(found)
    )


def _purposes(offer: Offer) -> set[tuple[str, bool]]:
    """Return the purposes of an offer, each with whether it needs consent, or only the absence of an objection."""
    return {
        (demanded.requires_consent, demanded.legal_basis == "consent")
        for demanded in offer.demands
        if demanded.requires_consent is not None
    }


def _collect_conditions(offers: list[Offer], checker: Checker) -> Mapping[Tier, TierConditions]:
    tiers = ((tier, _tier_conditions(tier, offers, checker)) for tier in TIERS)
    return MappingProxyType({tier: found for tier, found in tiers if found.shared or found.own})


def _tier_conditions(tier: Tier, offers: list[Offer], checker: Checker) -> TierConditions:
    shared: dict[str, Expression] = {}
    required: list[tuple[str, int]] = []
    own: list[tuple[int, Expression]] = []
    for row, offer in enumerate(offers):
        for rule in chain.from_iterable(demanded.rules for demanded in offer.demands):
            if rule.tier != tier:
                continue
            expression = checker.check(rule.when)
            # What is about the offer differs by row; all else is evaluated once for all offers that require it.
            if "offer" in expression.roots:
                own.append((row, expression))
            else:
                shared[rule.when] = expression
                required.append((rule.when, row))
    index = {source: i for i, source in enumerate(shared)}
    requires = np.zeros((len(shared), len(offers)), dtype=bool)
    for source, row in required:
        requires[index[source], row] = True
    return TierConditions(tuple(shared.values()), requires, tuple(own))


def _exclusive_rows(offers: list[Offer]) -> Mapping[int, BoolArray]:
    rows = {offer.offer_id: row for row, offer in enumerate(offers)}
    mutually_exclusive: dict[int, BoolArray] = {}
    for row, offer in enumerate(offers):
        for other in {rows[offer_id] for offer_id in offer.not_with if offer_id in rows}:
            # Naming one side is enough: each keeps the other out, whichever comes first.
            for one, two in ((row, other), (other, row)):
                mutually_exclusive.setdefault(one, np.zeros(len(offers), dtype=bool))[two] = True
    return MappingProxyType(mutually_exclusive)
