"""A log without stores: decisions by the engine itself, as they would be logged, and what came of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from msgspec import structs

from bandits.policy import Policy, PolicySpec
from bandits.sampling import uniform_draw
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kinds import Override
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.policy_runner import adjust_weights_for_group
from decisioning.decide.ranking import SelectionContext, select, weigh
from decisioning.evaluation.replay_service import logged_context
from decisioning.model.decision import (
    CustomerSnapshot,
    DecidedOffer,
    LoggedDecision,
    LoggedFactors,
    LoggedPolicy,
)
from decisioning.model.entities import Group, Offer, Placement, Treatment
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.model.selection import Selection
from storage.clock import HOUR_MS
from tests.support.decided import decision as made_by_hand

START_MS = 1_750_000_000_000
DECIDED_MS = 1_750_000_000_000
ACCEPTED = Outcome(
    bucket=3,
    position=StreamPosition("1-0"),
    decision_id="d",
    decided_at_ms=DECIDED_MS,
    offer_id="gold",
    offer=7,
    outcome="accepted",
    value=None,
    at_ms=DECIDED_MS + HOUR_MS,
    recorded_ms=DECIDED_MS + HOUR_MS,
    late=False,
    reward=1.0,
    base_propensity=0.25,
    policy="p@1",
    placement="web",
    estimate=0.125,
    worth=40.0,
    facts={"customer.age": 44, "context.reason": "cancel"},
)
PLACEMENT = "home"


def catalogue_of(
    numbers: Sequence[int],
    *,
    offers: Mapping[int, Mapping[str, Any]] | None = None,
    overridden: str | None = None,
    **placement: Any,
) -> Catalogue:
    """Offers `o<number>`, in two groups by turns; ``offers`` says what else is special about some."""
    treatment = Treatment(treatment_id="t", channel="web", language="en", title="", message="")
    special = offers or {}
    made = {
        f"o{n}": replace(
            Offer(f"o{n}", n, "", ("even", "odd")[n % 2], 1.0, treatments=(treatment,)), **special.get(n, {})
        )
        for n in numbers
    }
    groups = {name: Group(name, name, "grow") for name in ("even", "odd")}
    first = {"first": Override("first", "", offer=overridden)} if overridden else {}
    places = {PLACEMENT: Placement(PLACEMENT, "web", **placement)}
    return Catalogue(version=1, groups=groups, offers=made, placements=places, overrides=first)


def selection_context(
    view: PlacementView, name: str, at_ms: int, base_propensities: Any = None, available: Any = None
) -> SelectionContext:
    """A contest of all offers of a view, or those that are available."""
    n = len(view.numbers)
    return SelectionContext(
        view=view,
        available=np.ones(n, dtype=bool) if available is None else available,
        base_propensities=np.full(n, np.nan, dtype=np.float32)
        if base_propensities is None
        else base_propensities,
        weights=weigh(view, None),
        now_ms=at_ms,
        slots=view.placement.slots,
        decision_id=name,
    )


def decided_by(
    asked: SelectionContext, spec: PolicySpec, policy: Policy, prepared: Any, group: str = "champion"
) -> LoggedDecision:
    """A decision, as it is logged."""
    selection = select(adjust_weights_for_group(asked, group, spec), policy, prepared)
    return record(asked, selection, spec.key, group)


def record(asked: SelectionContext, selection: Selection, policy: str, group: str) -> LoggedDecision:
    """Return a selection as the log holds it."""
    decision = made_by_hand(
        asked.decision_id,
        placement=PLACEMENT,
        policy=LoggedPolicy.of(policy),
        logged_group=group,
        decided_at_ms=asked.now_ms,
        slots=asked.slots,
        offers=tuple(
            DecidedOffer(c.offer.offer_id, c.rank, factors=LoggedFactors(), probability=c.probability)
            for c in selection.choices
        ),
        numbers=tuple(c.offer.number for c in selection.choices),
        facts=dict(asked.facts),
        customer_snapshot=CustomerSnapshot(unlikely=selection.unlikely),
    )
    return LoggedDecision(
        0,
        StreamPosition("1-1"),
        decision,
        selection.candidates,
        selection.base_propensities,
        selection.factors,
    )


def changed(logged: LoggedDecision, **fields: Any) -> LoggedDecision:
    """The same record with other fields of the decision."""
    return replace(logged, decision=structs.replace(logged.decision, **fields))


def as_logged(logged: LoggedDecision, view: PlacementView) -> SelectionContext:
    """The contest again, from the log alone."""
    return logged_context(view, logged)


def outcome_of(
    logged: LoggedDecision, number: int, reward: float, after_ms: int = 1000, **more: Any
) -> Outcome:
    """Return the outcome of one offer of a decision."""
    decision = logged.decision
    at_ms = decision.decided_at_ms + after_ms
    return Outcome(
        bucket=0,
        position=StreamPosition("1-2"),
        decision_id=logged.decision_id,
        decided_at_ms=decision.decided_at_ms,
        offer_id=f"o{number}",
        offer=number,
        outcome="accepted" if reward else "rejected",
        value=None,
        at_ms=at_ms,
        recorded_ms=at_ms,
        late=False,
        reward=reward,
        base_propensity=float("nan"),
        policy=decision.policy.key,
        placement=PLACEMENT,
        **{"worth": 1.0, **more},
    )


def answers(rate: Callable[[int], float], logged: LoggedDecision) -> list[Outcome]:
    """Customers who accept with these chances; the same decision is always answered in the same way."""
    return [
        outcome_of(logged, n, float(uniform_draw(f"{logged.decision_id}/answer/{n}") < rate(n)))
        for n in logged.decision.numbers
    ]
