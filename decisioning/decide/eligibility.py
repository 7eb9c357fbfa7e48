"""The pipeline of eligibility: ordered stages, each with its mask and its reasons. Pure.

Decisions, default offers, explanations and the funnel of simulations all follow from ``STAGES``: what narrows the
mask of a decision is what an explanation names, in the same order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bandits.policy import BoolArray
from decisioning.capacity.matching import stop_of
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.signals import PreparedSignal, holding, signal_stop
from decisioning.decide.facts import offer_facts
from decisioning.model.decision import Contact
from decisioning.model.entities import FOREVER_MS, Tier
from decisioning.model.stop import StageName, Stop
from profiles.customer import Profile
from rules.evaluation import Evaluation
from rules.expression import SEGMENT, Expression


@dataclass(frozen=True, slots=True)
class EligibilityInputs:
    """Everything that eligibility depends on.

    ``history`` is ``None`` when it cannot be read. ``exhausted``: numbers of offers without capacity left.
    ``eligibility_only``: of the tiers of rules, only the first counts. ``holdouts``: ids of the hold-outs that the
    customer is in. ``household``: contacts of the customer's household, as far as there are limits on them; ``None``
    when they cannot be read.
    """

    catalogue: Catalogue
    view: PlacementView
    profile: Profile
    history: Sequence[Contact] | None
    evaluation: Evaluation
    exhausted: frozenset[int]
    now_ms: int
    eligibility_only: bool = False
    holdouts: tuple[str, ...] = ()
    household: Sequence[Contact] | None = ()


Narrow = Callable[[EligibilityInputs, BoolArray], None]
"""Clears the rows of a mask, shape ``(n,)``, that a stage stops."""
Explain = Callable[[EligibilityInputs, int], list[Stop]]
"""Gives everything in a stage that stops one row; empty exactly where ``Narrow`` leaves the row set."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the pipeline. ``for_defaults``: default offers have to pass it as well."""

    name: StageName
    narrow: Narrow
    explain: Explain
    for_defaults: bool


def allowed(inputs: EligibilityInputs) -> BoolArray:
    """Return which rows may be chosen: shape ``(n,)``, a fresh array."""
    mask = np.ones(len(inputs.view.offers), dtype=bool)
    for stage in STAGES:
        stage.narrow(inputs, mask)
    return mask


def eligible_defaults(inputs: EligibilityInputs) -> BoolArray:
    """Return which rows may be shown as default offers: shape ``(n,)``, a fresh array.

    Defaults are neither reserved nor counted, so they must be free of any limit that would have to be kept.
    Applicability, suitability and minimum propensities are for what is chosen, not for defaults.
    """
    view = inputs.view
    mask = np.ones(len(view.offers), dtype=bool)
    for stage in STAGES:
        if stage.for_defaults:
            stage.narrow(inputs, mask)
    for row in np.flatnonzero(mask).tolist():
        mask[row] = not view.contact.limited(row, inputs.profile.customer)
    return mask


def stops_of(inputs: EligibilityInputs, row: int) -> list[Stop]:
    """Return everything that stops a row, in the order of the stages; empty exactly where ``allowed`` is true."""
    return [stop for stage in STAGES for stop in stage.explain(inputs, row)]


def _narrow_to_dates(inputs: EligibilityInputs, mask: BoolArray) -> None:
    view, now_ms = inputs.view, inputs.now_ms
    mask &= view.always | ((view.starts_ms <= now_ms) & (now_ms < view.ends_ms))


def _explain_dates(inputs: EligibilityInputs, row: int) -> list[Stop]:
    offer, now_ms = inputs.view.offers[row], inputs.now_ms
    if offer.starts_ms <= now_ms < offer.ends_ms:
        return []
    required = {"from": offer.starts_ms, "to": None if offer.ends_ms == FOREVER_MS else offer.ends_ms}
    if now_ms < offer.starts_ms:
        return [Stop("dates", "not yet", now_ms, required, offer.starts_ms)]
    return [Stop("dates", "over", now_ms, required)]


def _narrow_to_holdouts(inputs: EligibilityInputs, mask: BoolArray) -> None:
    for holdout_id in inputs.holdouts:
        mask &= ~inputs.view.held_out[holdout_id]


def _explain_holdouts(inputs: EligibilityInputs, row: int) -> list[Stop]:
    view, holdouts = inputs.view, inputs.catalogue.holdouts
    return [
        Stop(
            "holdout",
            holdout_id,
            "held out",
            "not held out",
            None if holdouts[holdout_id].ends_ms == FOREVER_MS else holdouts[holdout_id].ends_ms,
        )
        for holdout_id in inputs.holdouts
        if view.held_out[holdout_id][row]
    ]


def _narrow_to_placement(inputs: EligibilityInputs, mask: BoolArray) -> None:
    when = inputs.view.when
    if when is not None and not inputs.evaluation.holds(when):
        mask[:] = False


def _explain_placement(inputs: EligibilityInputs, row: int) -> list[Stop]:
    when = inputs.view.when
    if when is None or inputs.evaluation.holds(when):
        return []
    return [_unmet(inputs, "placement", f"placement {inputs.view.placement.placement_id}", when, row)]


def _rules_stage(tier: Tier, *, for_defaults: bool) -> Stage:
    """Make the stage of one tier of rules."""

    def narrow(inputs: EligibilityInputs, mask: BoolArray) -> None:
        conditions = inputs.view.conditions.get(tier)
        if conditions is None or (inputs.eligibility_only and tier != "eligibility"):
            return
        holds = inputs.evaluation.holds
        failed = [i for i, expression in enumerate(conditions.shared) if not holds(expression)]
        if failed:
            mask &= ~conditions.requires[failed].any(axis=0)
        for row, expression in conditions.own:
            if mask[row]:  # evaluating an offer's own condition is costly: not for what is out already
                mask[row] = _holds(inputs, expression, row)

    def explain(inputs: EligibilityInputs, row: int) -> list[Stop]:
        if inputs.eligibility_only and tier != "eligibility":
            return []
        check = inputs.catalogue.checker.check
        return [
            _unmet(inputs, tier, rule.name, expression, row, demanded.source)
            for demanded in inputs.view.offers[row].demands
            for rule in demanded.rules
            if rule.tier == tier and not _holds(inputs, expression := check(rule.when), row)
        ]

    return Stage(tier, narrow, explain, for_defaults)


def _holds(inputs: EligibilityInputs, expression: Expression, row: int) -> bool:
    if "offer" in expression.roots:
        return inputs.evaluation.with_offer(offer_facts(inputs.view, row)).holds(expression)
    return inputs.evaluation.holds(expression)


def _unmet(
    inputs: EligibilityInputs,
    stage: StageName,
    name: str,
    expression: Expression,
    row: int,
    source: str | None = None,
) -> Stop:
    facts = inputs.evaluation.facts(offer_facts(inputs.view, row))
    looked_at = [*sorted(expression.paths), *(f"{SEGMENT}.{name}" for name in sorted(expression.segments))]
    calls = expression.calls
    observed = {calls[path].text if path in calls else path: facts(path) for path in looked_at}
    return Stop(stage, name, observed, expression.source, inherited_from=source)


def _narrow_to_consent(inputs: EligibilityInputs, mask: BoolArray) -> None:
    """Clear what the customer did not agree to or, where consent is not the legal basis, objected to."""
    customer, channel = inputs.profile.customer, inputs.view.placement.channel
    for purpose, needed, rows in inputs.view.consents:
        if needed:
            if not customer.consents_to(purpose, channel):
                mask &= ~rows
        elif customer.objects_to(purpose, channel):
            mask &= ~rows


def _explain_consent(inputs: EligibilityInputs, row: int) -> list[Stop]:
    customer, channel = inputs.profile.customer, inputs.view.placement.channel
    stops = []
    for demanded in inputs.view.offers[row].demands:
        purpose, source = demanded.requires_consent, demanded.source
        if purpose is None:
            continue
        if demanded.legal_basis != "consent":
            if customer.objects_to(purpose, channel):
                stops.append(Stop("consent", purpose, "objected", "no objection", inherited_from=source))
        elif not customer.consents_to(purpose, channel):
            given = customer.consents.get(purpose)
            observed = "none" if given is None else list(given)
            stops.append(Stop("consent", purpose, observed, channel, inherited_from=source))
    return stops


def held_signals(inputs: EligibilityInputs) -> list[tuple[PreparedSignal, bool]]:
    """Return the signals that hold in the request, with False those of which that cannot be known."""
    contact = inputs.view.contact
    if not contact.signals:
        return []
    unread = contact.unread(inputs.profile.customer, inputs.history)
    return list(holding(contact.signals, inputs.evaluation.holds, unread))


def _narrow_to_signals(inputs: EligibilityInputs, mask: BoolArray) -> None:
    for prepared, _ in held_signals(inputs):
        mask &= ~prepared.rows


def _explain_signals(inputs: EligibilityInputs, row: int) -> list[Stop]:
    held = held_signals(inputs)
    return [signal_stop(prepared, known=known) for prepared, known in held if prepared.rows[row]]


def _narrow_to_contact(inputs: EligibilityInputs, mask: BoolArray) -> None:
    customer, contact = inputs.profile.customer, inputs.view.contact
    mask &= contact.allowed(customer, inputs.history, inputs.now_ms, inputs.household)


def _explain_contact(inputs: EligibilityInputs, row: int) -> list[Stop]:
    customer, contact = inputs.profile.customer, inputs.view.contact
    return contact.stops(row, customer, inputs.history, inputs.now_ms, inputs.household)


def _narrow_to_capacity(inputs: EligibilityInputs, mask: BoolArray) -> None:
    if inputs.exhausted:
        mask &= ~np.isin(inputs.view.numbers, list(inputs.exhausted))


def _explain_capacity(inputs: EligibilityInputs, row: int) -> list[Stop]:
    offer, channel = inputs.view.offers[row], inputs.view.placement.channel
    if offer.number not in inputs.exhausted:
        return []
    # Without Redis nothing can be logged, so no unit could be counted: that is not the same as "none left".
    counted = inputs.history is not None
    return [stop_of(inputs.catalogue.capacities.values(), offer, channel, inputs.now_ms, counted=counted)]


STAGES: tuple[Stage, ...] = (
    Stage("dates", _narrow_to_dates, _explain_dates, for_defaults=True),
    Stage("holdout", _narrow_to_holdouts, _explain_holdouts, for_defaults=True),
    Stage("placement", _narrow_to_placement, _explain_placement, for_defaults=False),
    _rules_stage("eligibility", for_defaults=True),
    _rules_stage("applicability", for_defaults=False),
    _rules_stage("suitability", for_defaults=False),
    Stage("consent", _narrow_to_consent, _explain_consent, for_defaults=True),
    Stage("signal", _narrow_to_signals, _explain_signals, for_defaults=True),
    Stage("contact", _narrow_to_contact, _explain_contact, for_defaults=True),
    Stage("capacity", _narrow_to_capacity, _explain_capacity, for_defaults=True),
)
"""Cheap stages that need no customer come first; those after consent depend on what other processes do meanwhile."""
