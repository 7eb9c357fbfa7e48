"""Headers of decisions and the answers made of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bandits.policy import BoolArray
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.arbitration import offer_facts
from decisioning.decide.facts import facts_of
from decisioning.decide.policy_runner import PolicyResult
from decisioning.decide.request import Work
from decisioning.decide.snapshot import seen
from decisioning.log.records import Header, policy_of
from decisioning.model.deciders import CALLER
from decisioning.model.selection import Choice
from decisioning.treatments.treatment import in_language, offer_texts, say
from profiles.customer import Customer
from rules.evaluation import Evaluation
from rules.expression import Expression
from storage.clock import to_iso


@dataclass(frozen=True, slots=True)
class Speech:
    """What the texts of one answer may know, and in which language they should be.

    The language is ``context.language``, else the customer's attribute ``language``.
    """

    context: Mapping[str, Any]
    customer: Customer
    evaluation: Evaluation

    @property
    def languages(self) -> list[str]:
        """The wanted languages, the most wanted first."""
        wanted = (self.context.get("language"), self.customer.attributes.get("language"))
        return [language for language in wanted if isinstance(language, str)]


def chosen(choice: Choice, view: PlacementView, speech: Speech) -> dict[str, Any]:
    """An offer in its slot."""
    factors = choice.factors
    return {
        "offer_id": choice.offer.offer_id,
        "rank": choice.rank,
        "score": factors.score,
        "factors": {"P": factors.P, "C": factors.C, "V": factors.V, "L": factors.L},
        "probability": choice.probability,
        "treatment": treatment_of(view, choice.row, speech),
    }


def default(view: PlacementView, row: int, rank: int, speech: Speech) -> dict[str, Any]:
    """A default is not selected by a policy: it has no score, and its probability is not known."""
    return {
        "offer_id": view.offers[row].offer_id,
        "rank": rank,
        "score": None,
        "factors": None,
        "probability": None,
        "treatment": treatment_of(view, row, speech),
    }


def treatment_of(view: PlacementView, row: int, speech: Speech) -> Mapping[str, Any]:
    """How the offer of a row is put to this customer: in the wanted language, with all variables filled in."""
    wording = in_language(view.wordings[row], speech.languages)
    if wording.fixed is not None:
        return wording.fixed
    facts: dict[str, Any] = dict(facts_of(speech.customer, speech.context, view.placement))
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
            return speech.evaluation.with_offer(offer_facts(view, row)).holds(condition)
        return speech.evaluation.holds(condition)

    return say(wording, lookup, holds)


def header_of(work: Work, made: PolicyResult) -> Header:
    """Everything that is logged of a decision, of which the answer is a part."""
    placement = work.view.placement
    scored_by = policy_of(made.key)
    until_ms = work.now_ms + placement.reward_window_s * 1000
    choices = made.selection.choices
    speech = speech_of(work)
    header = {
        "decision_id": work.decision_id,
        "customer_id": work.request.customer_id,
        "placement": placement.placement_id,
        "channel": placement.channel,
        "presentation": placement.presentation,
        "policy": scored_by if made.wanted is None else policy_of(CALLER),
        "control": work.role.control,
        "group": work.role.group,
        "catalog_version": work.catalogue.version,
        "epoch": made.epoch,
        "decided_at_ms": work.now_ms,
        "until_ms": until_ms,
        "context": work.request.context,
        "limit": work.request.limit,
        "slots": work.slots,
        "offers": [chosen(choice, work.view, speech) for choice in choices],
        "numbers": [choice.offer.number for choice in choices],
        "expected": [choice.expected for choice in choices],
        "facts": work.facts,
        "nothing_right_now": not choices,
        "segments": work.evaluation.segments,
        "degraded": work.degraded,
        "feedback_until": to_iso(until_ms),
        "source": "live",
        "contact": work.view.contact.remembered([choice.row for choice in choices], work.now_ms, until_ms),
        "seen": seen(work.view, work.profile.customer, work.history, work.exhausted, made.selection.unlikely),
    }
    if made.wanted is not None:
        header |= {"scored_by": scored_by, "wanted": [work.view.offers[row].number for row in made.wanted]}
    if made.over_budget is not None:
        header["over_budget"] = asdict(made.over_budget)
    if made.failed is not None:
        header["failed"] = {"policy": made.failed[0], "reason": made.failed[1]}
    return header


def defaults_of(work: Work, available: BoolArray) -> list[dict[str, Any]]:
    """The placement's default offers that are ``available`` (shape ``(n,)``), as many as there are slots."""
    view = work.view
    by_id = {o.offer_id: row for row, o in enumerate(view.offers) if available[row]}
    rows = [by_id[o] for o in view.placement.default_offers if o in by_id]
    speech = speech_of(work)
    return [default(view, row, rank, speech) for rank, row in enumerate(rows[: work.slots], start=1)]


def speech_of(work: Work) -> Speech:
    """What the texts of an answer are rendered with."""
    return Speech(work.request.context, work.profile.customer, work.evaluation)
