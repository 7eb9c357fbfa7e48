"""The parts of an answer."""

from datetime import UTC, datetime
from typing import Any

from decisioning.catalog import PlacementView, Treatment, treatment_for
from decisioning.engine import Choice


def offer_of(choice: Choice, channel: str, language: Any) -> dict[str, Any]:
    """A chosen offer, with its treatment for the channel, in the customer's ``language`` if there is one."""
    factors = choice.factors
    return {
        "offer_id": choice.offer.offer_id,
        "rank": choice.rank,
        "score": factors.score,
        "factors": {"P": factors.P, "C": factors.C, "V": factors.V, "L": factors.L},
        "probability": choice.probability,
        "treatment": _treatment(
            treatment_for(choice.offer, channel, language if isinstance(language, str) else None)
        ),
    }


def default_offer(view: PlacementView, row: int, rank: int) -> dict[str, Any]:
    """A default is not selected by a policy: it has no score, and its probability is not known."""
    return {
        "offer_id": view.offers[row].offer_id,
        "rank": rank,
        "score": None,
        "factors": None,
        "probability": None,
        "treatment": _treatment(treatment_for(view.offers[row], view.placement.channel, None)),
    }


def iso(at_ms: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC."""
    return (
        datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _treatment(treatment: Treatment) -> dict[str, Any]:
    return {
        "treatment_id": treatment.treatment_id,
        "channel": treatment.channel,
        "language": treatment.language,
        "title": treatment.title,
        "message": treatment.message,
        "image": treatment.image,
    }
