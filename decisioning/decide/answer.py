"""Headers of decisions and the answers made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bandits.policy import BoolArray
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.arbitration import offer_facts
from decisioning.decide.facts import facts_of
from decisioning.decide.policy_runner import PolicyResult
from decisioning.decide.request import Work
from decisioning.decide.snapshot import customer_snapshot
from decisioning.model.deciders import CALLER
from decisioning.model.decision import DecidedOffer, Decision, LoggedFactors, PolicyRef, RenderedTreatment
from decisioning.model.selection import Choice
from decisioning.treatments.treatment import in_language, offer_texts, say
from profiles.customer import Customer
from rules.evaluation import Evaluation
from rules.expression import Expression


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


def chosen(choice: Choice, view: PlacementView, speech: Speech) -> DecidedOffer:
    """An offer in its slot."""
    factors = choice.factors
    return DecidedOffer(
        choice.offer.offer_id,
        choice.rank,
        factors.score,
        LoggedFactors(factors.P, factors.C, factors.V, factors.L),
        choice.probability,
        treatment_of(view, choice.row, speech),
    )


def default(view: PlacementView, row: int, rank: int, speech: Speech) -> DecidedOffer:
    """A default is not selected by a policy: it has no score, and its probability is not known."""
    return DecidedOffer(view.offers[row].offer_id, rank, treatment=treatment_of(view, row, speech))


def treatment_of(view: PlacementView, row: int, speech: Speech) -> RenderedTreatment:
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


def iso(at_ms: int) -> str:
    """ISO 8601 in UTC, with milliseconds."""
    return (
        datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def decision_of(work: Work, made: PolicyResult) -> Decision:
    """Everything that is logged of a decision, of which the answer is a part."""
    placement = work.view.placement
    scored_by, wanted = PolicyRef.of(made.key), made.wanted
    until_ms = work.now_ms + placement.reward_window_s * 1000
    choices = made.selection.choices
    speech = speech_of(work)
    return Decision(
        decision_id=work.decision_id,
        customer_id=work.request.customer_id,
        placement=placement.placement_id,
        channel=placement.channel,
        presentation=placement.presentation,
        policy=scored_by if wanted is None else PolicyRef.of(CALLER),
        control=work.role.control,
        logged_group=work.role.group,
        catalog_version=work.catalogue.version,
        epoch=made.epoch,
        decided_at_ms=work.now_ms,
        until_ms=until_ms,
        context=dict(work.request.context),
        limit=work.request.limit,
        slots=work.slots,
        offers=tuple(chosen(choice, work.view, speech) for choice in choices),
        numbers=tuple(choice.offer.number for choice in choices),
        expected=tuple(choice.expected for choice in choices),
        facts=work.facts,
        nothing_right_now=not choices,
        segments=tuple(work.evaluation.segments),
        degraded=tuple(work.degraded),
        feedback_until=iso(until_ms),
        source="live",
        contacts=work.view.contact.remembered([choice.row for choice in choices], work.now_ms, until_ms),
        customer_snapshot=customer_snapshot(
            work.view, work.profile.customer, work.history, work.exhausted, made.selection.unlikely
        ),
        scored_by=None if wanted is None else scored_by,
        caller_choice=None if wanted is None else tuple(work.view.offers[row].number for row in wanted),
        overrun=made.over_budget,
        failure=made.failed,
    )


def defaults_of(work: Work, available: BoolArray) -> tuple[DecidedOffer, ...]:
    """The placement's default offers that are ``available`` (shape ``(n,)``), as many as there are slots."""
    view = work.view
    by_id = {o.offer_id: row for row, o in enumerate(view.offers) if available[row]}
    rows = [by_id[o] for o in view.placement.default_offers if o in by_id]
    speech = speech_of(work)
    return tuple(default(view, row, rank, speech) for rank, row in enumerate(rows[: work.slots], start=1))


def speech_of(work: Work) -> Speech:
    """What the texts of an answer are rendered with."""
    return Speech(work.request.context, work.profile.customer, work.evaluation)
