"""Answers as values. Whatever a service says beyond them is in ``raw``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
LOCAL = "service_unavailable"
"""The reason in ``degraded`` of an answer that the client made, since the service was away."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """The form of an offer: what a page shows, or an agent says (``script``)."""

    title: str = ""
    message: str = ""
    image: str | None = None
    link: str | None = None
    button: str | None = None
    legal: str | None = None
    language: str = ""
    attributes: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    script: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer in its slot. ``score`` and ``probability`` are ``None`` where they were not asked for."""

    offer_id: str
    rank: int = 1
    treatment: Treatment | None = None
    score: float | None = None
    probability: float | None = None
    factors: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision of the service, or, if it is ``local``, the defaults of this client, since the service was away.

    Feedback on it is taken until ``feedback_until`` (ISO 8601, UTC); never if that is ``None``. ``warnings``: what of
    the question was probably not meant, such as a ``limit`` above the placement's slots: ``field``, ``message`` and
    ``way_out`` of each.
    """

    decision_id: str
    placement: str
    offers: tuple[Offer, ...]
    nothing_right_now: bool = False
    degraded: tuple[str, ...] = ()
    control: bool = False
    feedback_until: str | None = None
    local: bool = False
    warnings: tuple[Mapping[str, str], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


def decision_of(answer: Json) -> Decision:
    """Read an answer to a question."""
    return Decision(
        decision_id=answer["decision_id"],
        placement=answer["placement"],
        offers=tuple(offer_of(offer) for offer in answer["offers"]),
        nothing_right_now=answer["nothing_right_now"],
        degraded=tuple(answer["degraded"]),
        control=answer["control"],
        feedback_until=answer["feedback_until"],
        warnings=tuple(answer.get("warnings") or ()),
        raw=answer,
    )


def offer_of(offer: Mapping[str, Any]) -> Offer:
    """Read an offer of an answer; what this version does not know is left out."""
    treatment = offer.get("treatment")
    return Offer(
        offer_id=offer["offer_id"],
        rank=offer.get("rank", 1),
        treatment=None if treatment is None else _treatment_of(treatment),
        score=offer.get("score"),
        probability=offer.get("probability"),
        factors=offer.get("factors"),
    )


def _treatment_of(treatment: Mapping[str, Any]) -> Treatment:
    known = {name: treatment[name] for name in Treatment.__slots__ if treatment.get(name) is not None}
    return Treatment(**known)


def local_decision(decision_id: str, placement: str, offers: Iterable[Offer], limit: int | None) -> Decision:
    """Make the answer that is given while the service is away; it is known by ``local`` and ``degraded``."""
    kept = tuple(offers)[:limit]
    return Decision(decision_id, placement, kept, nothing_right_now=not kept, degraded=(LOCAL,), local=True)
