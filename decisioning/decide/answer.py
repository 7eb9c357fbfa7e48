"""The record of a decision, of which the answer is the public part: offers in their slots, with their treatments."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bandits.policy import BoolArray
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.context import DecisionContext, EvaluatedRequest
from decisioning.decide.eligibility import EligibilityInputs
from decisioning.decide.facts import facts_of, offer_facts
from decisioning.decide.policy_runner import PolicyResult
from decisioning.decide.snapshot import customer_snapshot
from decisioning.log.records import Header, policy_of
from decisioning.model.deciders import CALLER, NO_POLICY
from decisioning.model.selection import Choice
from decisioning.treatments.treatment import choose_treatment, offer_texts, render_treatment
from profiles.customer import Customer
from rules.evaluation import Evaluation
from rules.expression import Expression
from storage.clock import to_iso


@dataclass(frozen=True, slots=True)
class TextSource:
    """Everything that the texts of one answer may show. ``context``: the request's."""

    context: Mapping[str, Any]
    customer: Customer
    evaluation: Evaluation

    @property
    def languages(self) -> list[str]:
        """The wanted languages, the most wanted first: ``context.language``, the attribute ``language``."""
        wanted = (self.context.get("language"), self.customer.attributes.get("language"))
        return [language for language in wanted if isinstance(language, str)]


def decision_record(
    context: DecisionContext, evaluated: EvaluatedRequest, inputs: EligibilityInputs, result: PolicyResult
) -> Header:
    """Make the record of a decision by a policy, as it is logged."""
    view, choices = context.view, result.selection.choices
    scored_by = policy_of(result.key)
    caller_choice = result.context.caller_choice
    source = TextSource(context.request.context, inputs.profile.customer, evaluated.evaluation)
    record = _record(context, evaluated, inputs) | {
        "policy": scored_by if caller_choice is None else policy_of(CALLER),
        "epoch": result.epoch,
        "offers": [decided_offer(choice, view, source) for choice in choices],
        "numbers": [choice.offer.number for choice in choices],
        "expected": [choice.expected for choice in choices],
        "nothing_right_now": not choices,
    }
    until_ms: int = record["until_ms"]
    record["contact"] = view.contact.log_record([c.row for c in choices], context.now_ms, until_ms)
    record["seen"] = customer_snapshot(inputs, result.selection.unlikely)
    if caller_choice is not None:
        record |= {"scored_by": scored_by, "wanted": [view.offers[row].number for row in caller_choice]}
    if result.over_budget is not None:
        record["over_budget"] = asdict(result.over_budget)
    if result.failed is not None:
        record["failed"] = {"policy": result.failed[0], "reason": result.failed[1]}
    return record


def defaults_record(
    context: DecisionContext, evaluated: EvaluatedRequest, inputs: EligibilityInputs, available: BoolArray
) -> Header:
    """Make the record of an answer that no policy decided: the placement's defaults among the ``available`` rows.

    It is never logged, so no feedback is taken.
    """
    return _record(context, evaluated, inputs) | {
        "policy": policy_of(NO_POLICY),
        "offers": default_offers(context, evaluated, inputs, available),
        "nothing_right_now": False,
        "feedback_until": None,
    }


def default_offers(
    context: DecisionContext, evaluated: EvaluatedRequest, inputs: EligibilityInputs, available: BoolArray
) -> list[dict[str, Any]]:
    """Return the placement's default offers that are ``available`` (shape ``(n,)``), at most one for each slot.

    No policy selected them, so they have no score, and their probability is not known.
    """
    view = context.view
    by_id = {offer.offer_id: row for row, offer in enumerate(view.offers) if available[row]}
    rows = [by_id[offer_id] for offer_id in view.placement.default_offers if offer_id in by_id]
    source = TextSource(context.request.context, inputs.profile.customer, evaluated.evaluation)
    return [
        {
            "offer_id": view.offers[row].offer_id,
            "rank": rank,
            "score": None,
            "factors": None,
            "probability": None,
            "treatment": treatment_of(view, row, source),
        }
        for rank, row in enumerate(rows[: context.slots], start=1)
    ]


def decided_offer(choice: Choice, view: PlacementView, source: TextSource) -> dict[str, Any]:
    """Return an offer in its slot, as it is logged and answered."""
    factors = choice.factors
    return {
        "offer_id": choice.offer.offer_id,
        "rank": choice.rank,
        "score": factors.score,
        "factors": {"P": factors.P, "C": factors.C, "V": factors.V, "L": factors.L},
        "probability": choice.probability,
        "treatment": treatment_of(view, choice.row, source),
    }


def treatment_of(view: PlacementView, row: int, source: TextSource) -> Mapping[str, Any]:
    """Render the treatment of a row's offer: in the wanted language, with all variables filled in."""
    treatments = view.treatments[row]
    prepared = treatments[0] if len(treatments) == 1 else choose_treatment(treatments, source.languages)
    if prepared.rendered is not None:
        return prepared.rendered
    facts: dict[str, Any] = dict(facts_of(source.customer, source.context, view.placement))
    offer = offer_texts(view.offers[row], view.goals[row])

    def lookup(path: str) -> Any:
        if path.startswith("offer."):
            return offer.get(path)
        found: Any = facts
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def holds(condition: Expression) -> bool:
        if "offer" in condition.roots:
            return source.evaluation.with_offer(offer_facts(view, row)).holds(condition)
        return source.evaluation.holds(condition)

    return render_treatment(prepared, lookup, holds)


def _record(context: DecisionContext, evaluated: EvaluatedRequest, inputs: EligibilityInputs) -> Header:
    """Make what the records of all decisions have in common; ``offers`` and what goes with them are still empty."""
    placement = context.view.placement
    until_ms = context.now_ms + placement.reward_window_s * 1000
    nothing: Sequence[Any] = ()
    return {
        "decision_id": context.decision_id,
        "customer_id": context.request.customer_id,
        "placement": placement.placement_id,
        "channel": placement.channel,
        "presentation": placement.presentation,
        "policy": None,
        "control": context.assignment.control,
        "group": context.assignment.group,
        "catalog_version": context.catalogue.version,
        "epoch": 0,
        "decided_at_ms": context.now_ms,
        "until_ms": until_ms,
        "context": context.request.context,
        "limit": context.request.limit,
        "slots": context.slots,
        "offers": nothing,
        "numbers": nothing,
        "expected": nothing,
        "facts": evaluated.facts,
        "nothing_right_now": True,
        "segments": evaluated.evaluation.segments,
        "degraded": context.degraded,
        "feedback_until": to_iso(until_ms),
        "source": "live",
    }
