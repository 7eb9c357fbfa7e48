"""Previews and simulations: what a rule, or a changed catalogue, would do. Nothing is reserved, logged or learned."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandits.intervals import wilson_interval
from bandits.policy import BoolArray, Facts, PolicyKey
from bandits.sequential_policy import LearnedState
from bandits.state import ArmTable
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.compared import compared_warnings, unseen_warnings
from decisioning.contact.own_history import OwnHistory
from decisioning.decide.eligibility import STAGES, EligibilityInputs
from decisioning.decide.facts import facts_of, history_facts, learnable
from decisioning.decide.policy_runner import adjust_weights_for_group, assign, assign_holdouts
from decisioning.decide.ranking import NO_UNITS, SelectionContext, SharedLimits, select, weigh
from decisioning.decide.told import NOTHING_TOLD, Told, told_by
from decisioning.learning.replica import prepare
from decisioning.model.decision import Contact
from decisioning.model.entities import TIERS, Placement
from decisioning.model.selection import Selection
from decisioning.policies.roster import Roster
from profiles.customer import Profile
from profiles.events.population import Population
from rules.evaluation import evaluate
from rules.expression import Expression
from rules.vocabulary import HISTORY
from storage.clock import to_datetime

FUNNEL: Mapping[str, str] = {
    "live": "dates",
    **{name: name for name in ("holdout", "placement", *TIERS, "consent", "contact", "propensity", "chosen")},
}
"""The steps of a funnel, as they are shown, by the stage after which candidates are counted."""
MAX_EXAMPLES = 20

CheckTime = Callable[[int], None]
"""Is told how many customers have been looked at; raises an error when the time is up."""


NoteEmpty = Callable[[EligibilityInputs], None]
"""Is told what decided about a customer for whom nothing was chosen."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One customer of the sample, with what a decision would read: contacts, and what events told.

    ``events``: as Redis keeps it, ``b""`` if there is nothing; ``None`` if it was not read. ``population``: what is
    usual among all customers. ``unread``: Redis cannot be read; limits are then taken as free, while rules over the
    customer's own history are not met.
    """

    profile: Profile
    history: Sequence[Contact] = ()
    unread: bool = False
    events: bytes | None = None
    population: Population = field(default_factory=dict)

    @property
    def own_history(self) -> Sequence[Contact] | None:
        """The history as rules may look at it."""
        return None if self.unread else self.history

    def told(self, catalogue: Catalogue, now_ms: int) -> Told:
        """Return what the customer's events tell by the definitions of a catalogue."""
        if self.events is None:
            return NOTHING_TOLD
        return told_by(catalogue.event_definitions, self.events, now_ms, self.population)


def preview(
    expression: Expression,
    catalogue: Catalogue,
    subjects: Sequence[Subject],
    total: int,
    context: Mapping[str, Any],
    now_ms: int,
    check_time: CheckTime = lambda done: None,
) -> dict[str, Any]:
    """Count the ``subjects`` that match, name examples, and estimate the count among all ``total`` customers.

    ``warnings``: of what the expression looks for and nothing, or none of the customers, has.
    """
    plan = catalogue.rules.plan([expression])
    own = OwnHistory(plan.history, catalogue.numbers) if plan.history else None
    placement = Placement("preview", "preview")  # rules may speak of the placement, and a preview has none
    now = to_datetime(now_ms)
    matching: list[str] = []
    missing: Counter[str] = Counter()
    customers = []
    for done, subject in enumerate(subjects):
        check_time(done)
        customer = subject.profile.customer
        facts = facts_of(customer, context, placement, subject.told(catalogue, now_ms))
        if own is not None:
            facts = {**facts, HISTORY: own.answers(subject.own_history, now_ms)}
        customers.append(facts["customer"])
        evaluation = evaluate(plan, facts, now)
        if evaluation.holds(expression):
            matching.append(customer.customer_id)
        missing.update(evaluation.missing)
    rate, low, high = wilson_interval(len(matching), len(subjects))
    found, exact = len(matching), len(subjects) == total
    estimate = (found, found, found)
    if not exact:
        estimate = round((rate or 0.0) * total), int(low * total), int(np.ceil(high * total))
    return {
        "expression": expression.source,
        "matching": found,
        "sample": len(subjects),
        "customers": total,
        "exact": exact,
        "share": rate,
        "estimate": dict(zip(("matching", "low", "high"), estimate, strict=True)),
        "examples": matching[:MAX_EXAMPLES],
        "missing": dict(missing.most_common(MAX_EXAMPLES)),
        "warnings": [
            *compared_warnings(catalogue, "expression", expression.source),
            *unseen_warnings(catalogue.checker.vocabulary, expression.source, customers),
        ],
    }


@dataclass(slots=True)
class Run:
    """The result of one catalogue on the sample."""

    funnel: Counter[str] = field(default_factory=Counter)
    chosen: Counter[str] = field(default_factory=Counter)
    value: float = 0.0
    without: list[str] = field(default_factory=list)
    offers_of: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def note(self, customer_id: str, selection: Selection) -> None:
        """Note what was chosen for a customer."""
        self.funnel["propensity"] += len(selection.candidates)
        self.funnel["chosen"] += len(selection.choices)
        self.value += sum(choice.factors.P * choice.factors.V for choice in selection.choices)
        self.chosen.update(choice.offer.offer_id for choice in selection.choices)
        self.offers_of[customer_id] = tuple(c.offer.offer_id for c in selection.choices)
        if not selection.choices:
            self.without.append(customer_id)


def simulate(
    live: Catalogue,
    changed: Catalogue,
    placement_id: str,
    subjects: Sequence[Subject],
    roster: Roster,
    tables: Mapping[str, LearnedState],
    context: Mapping[str, Any],
    now_ms: int,
    check_time: CheckTime = lambda done: None,
) -> dict[str, Any]:
    """Run a sample through both catalogues, with the same draws.

    Capacity is taken as unlimited. Raises ``NotFound`` if either catalogue lacks the placement.
    """
    before, after = (
        _run(catalogue, placement_id, subjects, roster, tables, context, now_ms, check_time)
        for catalogue in (live, changed)
    )
    differs = [c for c in before.offers_of if before.offers_of[c] != after.offers_of[c]]
    return {
        "placement": placement_id,
        "customers": len(subjects),
        "live": _summary(before, len(subjects)),
        "changed": _summary(after, len(subjects)),
        "offers": [
            {
                "offer_id": offer,
                "live": before.chosen[offer],
                "changed": after.chosen[offer],
                "difference": after.chosen[offer] - before.chosen[offer],
            }
            for offer in sorted(before.chosen.keys() | after.chosen.keys())
        ],
        "customers_with_another_answer": len(differs),
    }


def run_live(
    live: Catalogue,
    placement_id: str,
    subjects: Sequence[Subject],
    roster: Roster,
    tables: Mapping[str, LearnedState],
    context: Mapping[str, Any],
    now_ms: int,
    check_time: CheckTime,
    note_empty: NoteEmpty,
) -> dict[str, Any]:
    """Run a sample through one catalogue, telling ``note_empty`` of those who get nothing.

    Capacity is taken as unlimited. Raises ``NotFound`` if there is no such placement.
    """
    run = _run(live, placement_id, subjects, roster, tables, context, now_ms, check_time, note_empty)
    return _summary(run, len(subjects))


def _summary(run: Run, customers: int) -> dict[str, Any]:
    return {
        "funnel": {shown: run.funnel[stage] for shown, stage in FUNNEL.items()},
        "expected_value": run.value,
        "without_offer": len(run.without),
        "without_offer_share": len(run.without) / customers if customers else 0.0,
        "without_offer_examples": run.without[:MAX_EXAMPLES],
    }


def _run(
    catalogue: Catalogue,
    placement_id: str,
    subjects: Sequence[Subject],
    roster: Roster,
    tables: Mapping[str, LearnedState],
    context: Mapping[str, Any],
    now_ms: int,
    check_time: CheckTime,
    note_empty: NoteEmpty | None = None,
) -> Run:
    run = Run()
    view, deployment = catalogue.view(placement_id), catalogue.deployments.get(placement_id)
    prepared: dict[str, Any] = {}
    for done, subject in enumerate(subjects):
        check_time(done)
        customer = subject.profile.customer
        assignment = assign(customer.customer_id, view, deployment)
        key = assignment.policy
        if key not in roster:  # as a decision would
            key = PolicyKey.of(view.placement.fallback_policy, 1)
        policy = roster[key]
        if key not in prepared:  # preparing takes longer than choosing
            prepared[key] = prepare(policy, tables.get(key) or ArmTable(policy.width), view, now_ms)
        facts = facts_of(customer, context, view.placement, subject.told(catalogue, now_ms))
        own = history_facts(view, roster.history, catalogue.numbers, subject.own_history, now_ms)
        facts = {**facts, **own}
        evaluation = evaluate(view.plan, facts, to_datetime(now_ms))
        inputs = EligibilityInputs(
            catalogue=catalogue,
            view=view,
            profile=subject.profile,
            history=subject.history,
            evaluation=evaluation,
            exhausted=frozenset(),
            now_ms=now_ms,
            eligibility_only=assignment.eligibility_only,
            holdouts=assign_holdouts(customer.customer_id, catalogue.holdouts.values(), now_ms),
        )
        selection_context = _context_of(inputs, _count_stages(run, inputs), learnable(facts, roster.paths))
        adjusted = adjust_weights_for_group(selection_context, assignment.group, roster.spec(key))
        selection = select(adjusted, policy, prepared[key])
        run.note(customer.customer_id, selection)
        if not selection.choices and note_empty is not None:
            note_empty(inputs)
    return run


def _context_of(inputs: EligibilityInputs, available: BoolArray, facts: Facts) -> SelectionContext:
    """Return what a customer's offers are selected with: ``available`` candidates, the ``facts`` to learn from."""
    view, customer = inputs.view, inputs.profile.customer
    return SelectionContext(
        view=view,
        available=available,
        base_propensities=inputs.profile.dense(view.numbers),
        weights=weigh(view, inputs.evaluation),
        now_ms=inputs.now_ms,
        slots=view.placement.slots,
        # It seeds the draws: the same in both catalogues, so that no difference is one of chance.
        decision_id=f"simulation/{customer.customer_id}",
        facts=facts,
        limits=SharedLimits.of(view, customer, inputs.history, NO_UNITS, view.placement.slots),
    )


def _count_stages(run: Run, inputs: EligibilityInputs) -> BoolArray:
    """Count the candidates left after each stage; returns the mask after the last of them."""
    mask = np.ones(len(inputs.view.offers), dtype=bool)
    for stage in STAGES:
        stage.narrow(inputs, mask)
        run.funnel[stage.name] += int(mask.sum())
    return mask
