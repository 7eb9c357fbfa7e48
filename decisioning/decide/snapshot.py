"""The customer snapshot: the part of the customer that a decision looked at, logged so that it can be explained later.

Only what the placement's rules and contact policy look at is kept, not the whole profile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from decisioning.contact.history import Contact
from decisioning.contact.limits import PREFERENCES
from decisioning.decide.eligibility import EligibilityInputs
from profiles.customer import Customer, Suppression

Snapshot = Mapping[str, Any]


def customer_snapshot(
    inputs: EligibilityInputs, unlikely: Sequence[tuple[int, float]] = ()
) -> dict[str, Any]:
    """Take the part of the profile and of the contact history that the placement looks at, as plain JSON.

    ``unlikely``: number and propensity of offers below their minimum: they are not among the logged candidates.
    """
    view, customer, history = inputs.view, inputs.profile.customer, inputs.history
    snapshot: dict[str, Any] = {"known": customer.known}
    wanted = {names[1] for _, names, _ in view.plan.places if names[0] == "customer"}
    wanted.update(PREFERENCES)
    attributes = {name: customer.attributes[name] for name in wanted if name in customer.attributes}
    indicators = {name: customer.indicators[name] for name in wanted if name in customer.indicators}
    if attributes:
        snapshot["attributes"] = attributes
    if indicators:
        snapshot["indicators"] = indicators
    if "interests" in wanted:
        snapshot["interests"] = customer.interests
    if "holdings" in wanted:
        snapshot["holdings"] = customer.holdings
    if view.consents and customer.consents:
        snapshot["consents"] = customer.consents
    # None says that it could not be read, and is kept apart from nothing: the explanation tells them apart.
    if history is None:
        snapshot["history"] = None
    elif relevant := view.contact.relevant(customer, history):
        snapshot["history"] = [astuple(contact) for contact in relevant]
    if customer.suppressions is None:
        snapshot["suppressions"] = None
    elif customer.suppressions:
        snapshot["suppressions"] = [astuple(suppression) for suppression in customer.suppressions]
    if inputs.exhausted:
        snapshot["exhausted"] = sorted(inputs.exhausted)
    if unlikely:
        snapshot["unlikely"] = [list(pair) for pair in unlikely]
    return snapshot


def customer_of(customer_id: str, snapshot: Snapshot) -> Customer:
    """Make the customer again, as far as the decision looked."""
    return Customer(
        customer_id,
        dict(snapshot.get("attributes", {})),
        dict(snapshot.get("indicators", {})),
        tuple(snapshot.get("holdings", ())),
        dict(snapshot.get("interests", {})),
        {purpose: tuple(channels) for purpose, channels in snapshot.get("consents", {}).items()},
        bool(snapshot["known"]),
        _suppressions(snapshot),
    )


def history_of(snapshot: Snapshot) -> list[Contact] | None:
    """Return the contact history as it was read; ``None`` if it could not be."""
    found = snapshot.get("history", [])
    return None if found is None else [Contact(*contact) for contact in found]


def _suppressions(snapshot: Snapshot) -> tuple[Suppression, ...] | None:
    found = snapshot.get("suppressions", [])
    return None if found is None else tuple(Suppression(*entry) for entry in found)
