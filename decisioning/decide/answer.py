"""The record of a decision, of which the answer is the public part: offers in their slots, with their treatments.

The record holds a snapshot of the customer too, so that it can be explained later: only what the placement's rules and
contact policy look at, not the whole profile.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import astuple

from bandits.policy import BoolArray
from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.limits import PREFERENCES
from decisioning.contact.signals import logged_signals
from decisioning.decide.context import DecisionContext, EvaluatedRequest
from decisioning.decide.eligibility import EligibilityInputs, held_signals
from decisioning.decide.facts import facts_of, offer_facts
from decisioning.decide.policy_runner import PolicyResult
from decisioning.decide.told import EVENTS, INTERESTS, NOTHING_TOLD, Told
from decisioning.model.deciders import CALLER, NO_POLICY
from decisioning.model.decision import (
    RUNTIME,
    CustomerSnapshot,
    DecidedOffer,
    Decision,
    LoggedFactors,
    LoggedPolicy,
    LoggedSignal,
    RenderedTreatment,
    SnapshotSuppression,
    SnapshotWithheld,
)
from decisioning.model.selection import Choice, Withheld
from decisioning.treatments.treatment import choose_treatment, offer_texts, render_treatment
from profiles.customer import Customer, Suppression
from rules.classification import classified
from rules.evaluation import Evaluation
from rules.expression import Expression
from storage.clock import to_iso


@dataclass(frozen=True, slots=True)
class TextSource:
    """Everything that the texts of one answer may show. ``context``: the request's.

    ``shown``: the paths of the customer's attributes that they may show; ``None``: all.
    """

    context: Mapping[str, Any]
    customer: Customer
    evaluation: Evaluation
    told: Told = NOTHING_TOLD
    shown: Container[str] | None = None

    @property
    def languages(self) -> list[str]:
        """The wanted languages, the most wanted first: ``context.language``, the attribute ``language``."""
        wanted = (self.context.get("language"), self.customer.attributes.get("language"))
        return [language for language in wanted if isinstance(language, str)]


def decision_record(
    context: DecisionContext, evaluated: EvaluatedRequest, inputs: EligibilityInputs, result: PolicyResult
) -> Decision:
    """Make the record of a decision by a policy, as it is logged."""
    view, choices = context.view, result.selection.choices
    caller_choice = result.context.caller_choice
    until_ms = context.now_ms + view.placement.reward_window_s * 1000
    source = _text_source(context, evaluated, inputs)
    signals, noted = _signals(inputs)
    return Decision(
        decision_id=context.decision_id,
        customer_id=context.request.customer_id,
        placement=view.placement.placement_id,
        channel=view.placement.channel,
        presentation=view.placement.presentation,
        policy=result.policy if caller_choice is None else LoggedPolicy.of(CALLER),
        control=context.assignment.control,
        logged_group=context.assignment.group,
        catalog_version=context.catalogue.version,
        epoch=result.epoch,
        decided_at_ms=context.now_ms,
        until_ms=until_ms,
        context=dict(context.request.context),
        limit=context.request.limit,
        slots=context.slots,
        offers=tuple(decided_offer(choice, view, source) for choice in choices),
        numbers=tuple(choice.offer.number for choice in choices),
        expected=tuple(choice.expected for choice in choices),
        facts=evaluated.facts,
        nothing_right_now=not choices,
        segments=evaluated.evaluation.segments,
        degraded=tuple(context.degraded),
        feedback_until=to_iso(until_ms),
        source="live",
        contacts=view.contact.log_record([choice.row for choice in choices], context.now_ms, until_ms),
        customer_snapshot=customer_snapshot(inputs, result.selection.unlikely, result.selection.withheld),
        scored_by=None if caller_choice is None else result.policy,
        caller_choice=None if caller_choice is None else tuple(view.offers[r].number for r in caller_choice),
        overrun=result.over_budget,
        failure=result.failed,
        counts_silence=True,
        runtime=RUNTIME,
        signals=signals,
        noted=noted,
        units=None if result.context.limits is None else result.context.limits.units,
        holdouts=context.holdouts or None,
        household=inputs.profile.customer.household_id
        if any(view.contact.limited_together(choice.row) for choice in choices)
        else None,
    )


def _signals(inputs: EligibilityInputs) -> tuple[tuple[LoggedSignal, ...], tuple[str, ...]]:
    signals = inputs.view.contact.signals
    if not signals:
        return (), ()
    held = [prepared for prepared, known in held_signals(inputs) if known]
    return logged_signals(signals, held, inputs.history, inputs.now_ms)


def defaults_record(
    context: DecisionContext, evaluated: EvaluatedRequest, inputs: EligibilityInputs, available: BoolArray
) -> Decision:
    """Make the record of an answer that no policy decided: the placement's defaults among the ``available`` rows.

    It is never logged, so no feedback is taken.
    """
    placement = context.view.placement
    return Decision(
        decision_id=context.decision_id,
        customer_id=context.request.customer_id,
        placement=placement.placement_id,
        channel=placement.channel,
        presentation=placement.presentation,
        policy=LoggedPolicy.of(NO_POLICY),
        control=context.assignment.control,
        logged_group=context.assignment.group,
        catalog_version=context.catalogue.version,
        epoch=0,
        decided_at_ms=context.now_ms,
        until_ms=context.now_ms + placement.reward_window_s * 1000,
        context=dict(context.request.context),
        limit=context.request.limit,
        slots=context.slots,
        offers=default_offers(context, evaluated, inputs, available),
        numbers=(),
        nothing_right_now=False,
        degraded=tuple(context.degraded),
        feedback_until=None,
        source="live",
        holdouts=context.holdouts or None,
    )


def default_offers(
    context: DecisionContext,
    evaluated: EvaluatedRequest,
    inputs: EligibilityInputs,
    available: BoolArray,
    chosen: Sequence[int] = (),
) -> tuple[DecidedOffer, ...]:
    """Return the placement's default offers that are ``available`` (shape ``(n,)``), for slots behind ``chosen`` rows.

    No policy selected them, so they have no score, and their probability is not known. None stands beside an offer that
    excludes it, and no group gets more offers than the placement allows.
    """
    view = context.view
    by_id = {offer.offer_id: row for row, offer in enumerate(view.offers) if available[row]}
    rows = list(chosen)
    for offer_id in view.placement.default_offers:
        row = by_id.get(offer_id)
        if row is not None and len(rows) < context.slots and _may_join(view, rows, row):
            rows.append(row)
    source = _text_source(context, evaluated, inputs)
    return tuple(
        DecidedOffer(view.offers[row].offer_id, rank, treatment=treatment_of(view, row, source))
        for rank, row in enumerate(rows[len(chosen) :], start=len(chosen) + 1)
    )


def _text_source(
    context: DecisionContext, evaluated: EvaluatedRequest, inputs: EligibilityInputs
) -> TextSource:
    shown = classified(context.catalogue.attributes.values(), "public") if context.request.public else None
    customer = inputs.profile.customer
    return TextSource(context.request.context, customer, evaluated.evaluation, evaluated.told, shown)


def _may_join(view: PlacementView, rows: Sequence[int], row: int) -> bool:
    """Return whether an offer may be answered beside those of ``rows``."""
    apart = view.mutually_exclusive.get(row)
    if row in rows or (apart is not None and any(apart[other] for other in rows)):
        return False
    most, group = view.placement.max_per_group, view.groups[row]
    return most is None or sum(view.groups[other] == group for other in rows) < most


def decided_offer(choice: Choice, view: PlacementView, source: TextSource) -> DecidedOffer:
    """Return an offer in its slot, as it is logged and answered."""
    factors = choice.factors
    return DecidedOffer(
        choice.offer.offer_id,
        choice.rank,
        choice.score,
        LoggedFactors(factors.P, factors.C, factors.V, factors.L),
        choice.probability,
        treatment_of(view, choice.row, source),
    )


def treatment_of(view: PlacementView, row: int, source: TextSource) -> RenderedTreatment:
    """Render the treatment of a row's offer: in the wanted language, with all variables filled in."""
    treatments = view.treatments[row]
    prepared = treatments[0] if len(treatments) == 1 else choose_treatment(treatments, source.languages)
    if prepared.rendered is not None:
        return prepared.rendered
    facts: dict[str, Any] = dict(facts_of(source.customer, source.context, view.placement, source.told))
    offer = offer_texts(view.offers[row], view.goals[row])

    def lookup(path: str) -> Any:
        if path.startswith("offer."):
            return offer.get(path)
        if source.shown is not None and path.startswith("customer.") and path not in source.shown:
            return None
        found: Any = facts
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def holds(condition: Expression) -> bool:
        if "offer" in condition.roots:
            return source.evaluation.with_offer(offer_facts(view, row)).holds(condition)
        return source.evaluation.holds(condition)

    return render_treatment(prepared, lookup, holds)


def customer_snapshot(
    inputs: EligibilityInputs,
    unlikely: tuple[tuple[int, float], ...] = (),
    withheld: tuple[Withheld, ...] = (),
) -> CustomerSnapshot:
    """Take the part of the profile and of the contact history that the placement looks at.

    ``unlikely``: number and propensity of offers below their minimum: they are not among the logged candidates, nor are
    those ``withheld``.
    """
    view, customer, history = inputs.view, inputs.profile.customer, inputs.history
    plan = view.plan
    wanted = {name for _, name, _ in plan.leaves.get("customer", ())}
    wanted.update(names[1] for _, names, _ in plan.deeper if names[0] == "customer")
    wanted.update(PREFERENCES)
    relevant = None
    if history is not None:
        relevant = view.contact.relevant(customer, history, view.own_history, inputs.now_ms)
    together = None if inputs.household is None else view.contact.relevant_together(inputs.household)
    suppressions, values = customer.suppressions, inputs.evaluation.values
    return CustomerSnapshot(
        known=customer.known,
        attributes={name: customer.attributes[name] for name in wanted if name in customer.attributes},
        indicators={name: customer.indicators[name] for name in wanted if name in customer.indicators},
        interests=customer.interests if "interests" in wanted else None,
        holdings=customer.holdings if "holdings" in wanted else None,
        consents=customer.consents if view.consents else {},
        # None says that it could not be read, and is kept apart from nothing: the explanation tells them apart.
        history=None if relevant is None else tuple(relevant),
        suppressions=None
        if suppressions is None
        else tuple(SnapshotSuppression(*s.written) for s in suppressions),
        exhausted=tuple(sorted(inputs.exhausted)),
        unlikely=unlikely,
        withheld=tuple(SnapshotWithheld(*one) for one in withheld),
        events=_values_below(EVENTS, view, values),
        interests_told=_values_below(INTERESTS, view, values),
        household=None if together is None else tuple(together),
    )


def _values_below(root: str, view: PlacementView, values: Mapping[str, Any]) -> dict[str, Any]:
    """Pick out what rules looked at below a root. ``values``: all that they looked at, by path."""
    leaves = view.plan.leaves.get(root, ())
    return {name: values[path] for path, name, _ in leaves if path in values}


def customer_of(customer_id: str, snapshot: CustomerSnapshot) -> Customer:
    """Make the customer again, as far as the decision looked."""
    suppressions = snapshot.suppressions
    return Customer(
        customer_id,
        dict(snapshot.attributes),
        dict(snapshot.indicators),
        snapshot.holdings or (),
        dict(snapshot.interests or {}),
        dict(snapshot.consents),
        bool(snapshot.known),
        None if suppressions is None else tuple(Suppression.read(*astuple(entry)) for entry in suppressions),
    )
