"""Headers of decisions and the answers made of them."""

from datetime import UTC, datetime
from typing import Any

from decisioning.catalog import treatment_for
from decisioning.catalog.model import Offer
from decisioning.catalog.view import PlacementView
from decisioning.engine import Choice


def chosen(choice: Choice, channel: str, language: Any) -> dict[str, Any]:
    """An offer in its slot."""
    factors = choice.factors
    return {
        "offer_id": choice.offer.offer_id,
        "rank": choice.rank,
        "score": factors.score,
        "factors": {"P": factors.P, "C": factors.C, "V": factors.V, "L": factors.L},
        "probability": choice.probability,
        "treatment": _treatment(choice.offer, channel, language),
    }


def default(view: PlacementView, row: int, rank: int, language: Any) -> dict[str, Any]:
    """A default is not selected by a policy: it has no score, and its probability is not known."""
    return {
        "offer_id": view.offers[row].offer_id,
        "rank": rank,
        "score": None,
        "factors": None,
        "probability": None,
        "treatment": _treatment(view.offers[row], view.placement.channel, language),
    }


def _treatment(offer: Offer, channel: str, language: Any) -> dict[str, Any]:
    treatment = treatment_for(offer, channel, language if isinstance(language, str) else None)
    return {
        "treatment_id": treatment.treatment_id,
        "channel": treatment.channel,
        "language": treatment.language,
        "title": treatment.title,
        "message": treatment.message,
        "image": treatment.image,
    }


def iso(at_ms: int) -> str:
    """ISO 8601 in UTC, with milliseconds."""
    return (
        datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
