"""Previews and simulations: what a rule, or a changed catalogue, would do. Nothing is reserved, logged or learned."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandits.intervals import wilson
from bandits.policy import BoolArray, PolicyKey
from bandits.sequential_policy import Table
from bandits.state import ArmTable
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.history import Contact
from decisioning.decide.arbitration import met_by_tier, weigh
from decisioning.decide.assignment import Assignment, adjust_weights_for_group, assign
from decisioning.decide.eligibility import consented
from decisioning.decide.facts import facts_of, instant, learnable
from decisioning.decide.ranking import SelectionContext, select
from decisioning.learning.replica import prepare
from decisioning.model.deployment import Deployment
from decisioning.model.entities import TIERS, Placement
from decisioning.policies.roster import Roster
from profiles.customer import Profile
from rules.evaluation import evaluate
from rules.expression import Expression

STAGES = ("live", "placement", *TIERS, "consent", "contact", "propensity", "chosen")
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Subject:
    """One customer of the sample, with the contact history that a decision would read."""

    profile: Profile
    history: Sequence[Contact]


def preview(
    expression: Expression,
    catalogue: Catalogue,
    profiles: Sequence[Profile],
    total: int,
    context: Mapping[str, Any],
    now_ms: int,
) -> dict[str, Any]:
    """Count the ``profiles`` that match, name examples, and estimate the count among all ``total`` customers."""
    plan = catalogue.rules.plan([expression])
    placement = Placement("preview", "preview")
    matching: list[str] = []
    missing: Counter[str] = Counter()
    for profile in profiles:
        evaluation = evaluate(plan, facts_of(profile.customer, context, placement), instant(now_ms))
        if evaluation.holds(expression):
            matching.append(profile.customer.customer_id)
        missing += evaluation.missing
    rate, low, high = wilson(len(matching), len(profiles))
    exact = len(profiles) == total
    return {
        "expression": expression.source,
        "matching": len(matching),
        "sample": len(profiles),
        "customers": total,
        "exact": exact,
        "share": rate,
        "estimate": {
            "matching": len(matching) if exact else round((rate or 0.0) * total),
            "low": len(matching) if exact else int(low * total),
            "high": len(matching) if exact else int(np.ceil(high * total)),
        },
        "examples": matching[:SHOWN],
        "missing": dict(missing.most_common(SHOWN)),
    }


@dataclass(slots=True)
class Run:
    """The result of one catalogue on the sample."""

    funnel: Counter[str] = field(default_factory=Counter)
    chosen: Counter[str] = field(default_factory=Counter)
    value: float = 0.0
    without: list[str] = field(default_factory=list)
    offers_of: dict[str, tuple[str, ...]] = field(default_factory=dict)


def simulate(
    live: Catalogue,
    changed: Catalogue,
    placement_id: str,
    subjects: Sequence[Subject],
    roster: Roster,
    tables: Mapping[str, Table],
    context: Mapping[str, Any],
    now_ms: int,
) -> dict[str, Any]:
    """Run a sample through both catalogues, with the same draws.

    Capacity is taken as unlimited. Raises ``NotFound`` if either catalogue lacks the placement.
    """
    runs = {
        name: _run(
            catalogue.view(placement_id),
            catalogue.deployments.get(placement_id),
            subjects,
            roster,
            tables,
            context,
            now_ms,
        )
        for name, catalogue in (("live", live), ("changed", changed))
    }
    before, after = runs["live"], runs["changed"]
    offers = sorted(set(before.chosen) | set(after.chosen))
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
            for offer in offers
        ],
        "customers_with_another_answer": len(differs),
    }


def _summary(run: Run, customers: int) -> dict[str, Any]:
    return {
        "funnel": {stage: run.funnel[stage] for stage in STAGES},
        "expected_value": run.value,
        "without_offer": len(run.without),
        "without_offer_share": len(run.without) / customers if customers else 0.0,
        "without_offer_examples": run.without[:SHOWN],
    }


def _run(
    view: PlacementView,
    deployment: Deployment | None,
    subjects: Sequence[Subject],
    roster: Roster,
    tables: Mapping[str, Table],
    context: Mapping[str, Any],
    now_ms: int,
) -> Run:
    run = Run()
    prepared: dict[str, Any] = {}
    for subject in subjects:
        customer = subject.profile.customer
        role = assign(customer.customer_id, view.placement, deployment)
        key = role.policy if role.policy in roster else PolicyKey.of(view.placement.fallback_policy, 1)
        policy = roster[key]
        if key not in prepared:
            prepared[key] = prepare(policy, tables.get(key) or ArmTable(policy.width), view, now_ms)
        facts = facts_of(customer, context, view.placement)
        evaluation = evaluate(view.plan, facts, instant(now_ms))
        available = _count_stages(run, view, subject, evaluation, now_ms, role)
        selection_context = SelectionContext(
            view=view,
            available=available,
            base_propensities=subject.profile.dense(view.numbers),
            weights=weigh(view, evaluation),
            now_ms=now_ms,
            slots=view.placement.slots,
            decision_id=f"simulation/{customer.customer_id}",
            facts=learnable(facts, roster.paths),
        )
        selection = select(
            adjust_weights_for_group(selection_context, role.group, roster.spec(key)), policy, prepared[key]
        )
        run.funnel["propensity"] += len(selection.candidates)
        run.funnel["chosen"] += len(selection.choices)
        run.value += sum(choice.factors.P * choice.factors.V for choice in selection.choices)
        run.chosen.update(choice.offer.offer_id for choice in selection.choices)
        run.offers_of[customer.customer_id] = tuple(c.offer.offer_id for c in selection.choices)
        if not selection.choices:
            run.without.append(customer.customer_id)
    return run


def _count_stages(
    run: Run, view: PlacementView, subject: Subject, evaluation: Any, now_ms: int, role: Assignment
) -> BoolArray:
    """Count the candidates left after each stage; returns what is left after the last of them."""
    customer = subject.profile.customer
    mask = view.live(now_ms)
    run.funnel["live"] += int(mask.sum())
    if view.when is not None and not evaluation.holds(view.when):
        mask[:] = False
    run.funnel["placement"] += int(mask.sum())
    tiers = met_by_tier(view, evaluation)
    for tier in TIERS:
        if tier == "eligibility" or not role.eligibility_only:
            mask &= tiers[tier]
        run.funnel[tier] += int(mask.sum())
    mask &= consented(view, customer)
    run.funnel["consent"] += int(mask.sum())
    mask &= view.contact.allowed(customer, subject.history, now_ms)
    run.funnel["contact"] += int(mask.sum())
    return mask
