"""Headers of decisions and the answers made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from decisioning.arbitration import offer_facts
from decisioning.catalog.view import PlacementView
from decisioning.engine import Choice
from decisioning.facts import facts_of
from decisioning.scripts import in_language, offer_texts, say
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


def iso(at_ms: int) -> str:
    """ISO 8601 in UTC, with milliseconds."""
    return (
        datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
