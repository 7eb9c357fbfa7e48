"""The record of a decision whose customer is erased: what replays, reports and learning need, under a pseudonym."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from decisioning.contact.limits import PREFERENCES
from decisioning.contact.quiet_hours import zone_of
from decisioning.model.decision import (
    CustomerSnapshot,
    DecidedOffer,
    Decision,
    PolicyFailure,
    RenderedTreatment,
)

PREFIX = "erased-"
REASON = "erased"
"""Stands for the reason why a policy failed, which may quote a value."""
_COUNTED = (
    *("decision_id", "placement", "channel", "policy", "control", "group", "decided_at_ms", "until_ms"),
    *("numbers", "source", "catalog_version", "epoch", "holdouts"),
)


def pseudonymise(decision: Decision, pseudonym: str, facts: Mapping[str, Any]) -> Decision:
    """Return the record without what was known of the customer. ``facts``: those that were made general.

    Kept are ids, times, offers with their factors and probabilities, the facts, segments, earlier contacts (offer,
    channel, time) and limits of the customer's own: slots were drawn with regard to these. Gone are the context of the
    request, all other attributes and indicators, interests, holdings, the household, consents, suppressions, signals,
    and all texts.
    """
    defaults, failure = decision.default_offers, decision.failure
    return replace(
        decision,
        customer_id=pseudonym,
        context={},
        facts=None if decision.facts is None else dict(facts),
        offers=tuple(map(_without_texts, decision.offers)),
        default_offers=None if defaults is None else tuple(map(_without_texts, defaults)),
        customer_snapshot=_snapshot(decision.customer_snapshot),
        failure=None if failure is None else PolicyFailure(failure.policy, REASON),
        signals=(),
        erased=True,
        household=None,
    )


def pseudonymise_unreadable(header: Mapping[str, Any], pseudonym: str) -> dict[str, Any]:
    """Do the same, more thoroughly, to a record that this version cannot read: only what reports count stays."""
    offers = [
        {name: offer.get(name) for name in ("offer_id", "rank", "probability")}
        for offer in header.get("offers", ())
        if isinstance(offer, Mapping)
    ]
    found = {name: header[name] for name in _COUNTED if name in header}
    return found | {"customer_id": pseudonym, "offers": offers, "erased": True}


def _snapshot(snapshot: CustomerSnapshot | None) -> CustomerSnapshot | None:
    if snapshot is None:
        return None
    return CustomerSnapshot(
        known=snapshot.known,
        attributes={name: value for name, value in snapshot.attributes.items() if _is_limit(name, value)},
        history=snapshot.history,
        exhausted=snapshot.exhausted,
        unlikely=snapshot.unlikely,
        withheld=snapshot.withheld,
        household=snapshot.household,
    )


def _is_limit(name: str, value: Any) -> bool:
    if name not in PREFERENCES:
        return False
    return zone_of(value) is not None if isinstance(value, str) else isinstance(value, int | float)


def _without_texts(offer: DecidedOffer) -> DecidedOffer:
    treatment = offer.treatment
    if treatment is None:
        return offer
    bare = RenderedTreatment(treatment.treatment_id, treatment.channel, treatment.language, "", "")
    return replace(offer, treatment=bare)
