"""What a decision saw of its customer, kept with it so that it can be explained later.

Only what the placement's rules and contact policy look at is kept, not the whole profile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.history import Contact
from decisioning.contact.limits import PREFERENCES
from profiles.customer import Customer, Suppression

Seen = Mapping[str, Any]


def seen(
    view: PlacementView,
    customer: Customer,
    history: Sequence[Contact] | None,
    exhausted: frozenset[int],
    unlikely: Sequence[tuple[int, float]] = (),
) -> dict[str, Any]:
    """The part of the profile and of the history that this placement looks at, as plain JSON.

    ``unlikely``: number and propensity of offers below their minimum: they are not among the logged candidates.
    """
    facts: dict[str, Any] = {"known": customer.known}
    wanted = {names[1] for _, names, _ in view.plan.places if names[0] == "customer"}
    wanted.update(PREFERENCES)
    attributes = {name: customer.attributes[name] for name in wanted if name in customer.attributes}
    indicators = {name: customer.indicators[name] for name in wanted if name in customer.indicators}
    if attributes:
        facts["attributes"] = attributes
    if indicators:
        facts["indicators"] = indicators
    if "interests" in wanted:
        facts["interests"] = customer.interests
    if "holdings" in wanted:
        facts["holdings"] = customer.holdings
    if view.consents and customer.consents:
        facts["consents"] = customer.consents
    if history is None:
        facts["history"] = None
    elif relevant := view.contact.relevant(customer, history):
        facts["history"] = [astuple(contact) for contact in relevant]
    if customer.suppressions is None:
        facts["suppressions"] = None
    elif customer.suppressions:
        facts["suppressions"] = [astuple(suppression) for suppression in customer.suppressions]
    if exhausted:
        facts["exhausted"] = sorted(exhausted)
    if unlikely:
        facts["unlikely"] = [list(pair) for pair in unlikely]
    return facts


def customer_of(customer_id: str, facts: Seen) -> Customer:
    """The customer, as far as the decision looked."""
    return Customer(
        customer_id,
        dict(facts.get("attributes", {})),
        dict(facts.get("indicators", {})),
        tuple(facts.get("holdings", ())),
        dict(facts.get("interests", {})),
        {purpose: tuple(channels) for purpose, channels in facts.get("consents", {}).items()},
        bool(facts["known"]),
        _suppressions(facts),
    )


def history_of(facts: Seen) -> list[Contact] | None:
    """The contact history as it was read; ``None`` if it could not be."""
    found = facts.get("history", [])
    return None if found is None else [Contact(*contact) for contact in found]


def _suppressions(facts: Seen) -> tuple[Suppression, ...] | None:
    found = facts.get("suppressions", [])
    return None if found is None else tuple(Suppression(*entry) for entry in found)
