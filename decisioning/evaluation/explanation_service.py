"""Explanations of logged decisions, from the log alone."""

from typing import Any

from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.eligibility import EligibilityInputs
from decisioning.decide.explanation import Situation, explain
from decisioning.decide.facts import facts_of
from decisioning.decide.snapshot import Snapshot, customer_of, history_of
from decisioning.evaluation.logged_service import Catalogues, Log, ReplayedDecision, replay_decision
from decisioning.log.records import group_of
from decisioning.model.selection import Selection
from decisioning.policies.roster import Roster
from profiles.customer import Profile
from rules.evaluation import evaluate
from storage.clock import to_datetime


async def explain_logged(
    decision_id: str, log: Log, catalogues: Catalogues, roster: Roster
) -> dict[str, Any]:
    """The explanation of an archived decision.

    Raises
    ------
    NotFound
        If the decision is not archived (yet).
    ReplayImpossible
        If it was not made here, or the log does not reach its arms' position yet.
    """
    remade = await replay_decision(decision_id, log, catalogues, roster)
    return {
        "decision_id": decision_id,
        "policy": remade.decided.header["policy"],
        "candidates": explain(_situation(remade)),
    }


def _situation(remade: ReplayedDecision) -> Situation:
    """The decision as it was when it was made: what was known of the customer, and what that came to."""
    decided, view = remade.decided, remade.selection_context.view
    header = decided.header
    seen, now_ms = header["seen"], header["decided_at_ms"]
    customer = customer_of(header["customer_id"], seen)
    facts = facts_of(customer, header["context"], view.placement)
    inputs = EligibilityInputs(
        catalogue=remade.catalogue,
        view=view,
        profile=Profile(customer, decided.candidates, decided.base_propensities),
        history=history_of(seen),
        evaluation=evaluate(view.plan, facts, to_datetime(now_ms)),
        exhausted=frozenset(seen.get("exhausted", ())),
        now_ms=now_ms,
        eligibility_only=group_of(header) == "eligibility_only",
    )
    weights = remade.selection_context.weights
    return Situation(inputs, weights, _propensities(view, remade.selection, seen), remade.selection)


def _propensities(view: PlacementView, selection: Selection, seen: Snapshot) -> list[float]:
    """What was expected of all rows: for candidates as chosen again, for those below their minimum as logged."""
    found: list[float] = [] if selection.propensities is None else selection.propensities.tolist()
    unlikely = dict(seen.get("unlikely", ()))
    return [unlikely.get(number, found[row]) for row, number in enumerate(view.numbers.tolist())]
