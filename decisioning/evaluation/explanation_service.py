"""Explanations of logged decisions, from the log alone."""

from typing import Any

from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.answer import customer_of, history_of
from decisioning.decide.eligibility import EligibilityInputs
from decisioning.decide.explanation import Situation, explain
from decisioning.decide.facts import facts_of
from decisioning.evaluation.replay_service import Catalogues, Log, ReplayedDecision, replay_decision
from decisioning.log.codec import as_json
from decisioning.model.decision import CustomerSnapshot
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
    replayed = await replay_decision(decision_id, log, catalogues, roster)
    return {
        "decision_id": decision_id,
        "policy": as_json(replayed.logged.decision.policy),
        "candidates": explain(_situation(replayed)),
    }


def _situation(replayed: ReplayedDecision) -> Situation:
    """The decision as it was when it was made: what was known of the customer, and what that came to."""
    logged, view = replayed.logged, replayed.selection_context.view
    decision, now_ms = logged.decision, logged.decision.decided_at_ms
    snapshot = decision.customer_snapshot or CustomerSnapshot()
    customer = customer_of(decision.customer_id, snapshot)
    facts = facts_of(customer, decision.context, view.placement)
    inputs = EligibilityInputs(
        catalogue=replayed.catalogue,
        view=view,
        profile=Profile(customer, logged.candidates, logged.base_propensities),
        history=history_of(snapshot),
        evaluation=evaluate(view.plan, facts, to_datetime(now_ms)),
        exhausted=frozenset(snapshot.exhausted),
        now_ms=now_ms,
        eligibility_only=decision.group == "eligibility_only",
    )
    propensities = _propensities(view, replayed.selection, snapshot)
    return Situation(inputs, replayed.selection_context.weights, propensities, replayed.selection)


def _propensities(view: PlacementView, selection: Selection, snapshot: CustomerSnapshot) -> list[float]:
    """Put the propensities of all rows together: replayed for candidates, as logged for those below their minimum."""
    found: list[float] = [] if selection.propensities is None else selection.propensities.tolist()
    unlikely = dict(snapshot.unlikely)
    return [unlikely.get(number, found[row]) for row, number in enumerate(view.numbers.tolist())]
