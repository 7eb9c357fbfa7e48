"""The customer snapshot: the part of the customer that a decision looked at, logged so that it can be explained later.

Only what the placement's rules and contact policy look at is kept, not the whole profile.
"""

from msgspec.structs import astuple

from decisioning.contact.history import Contact
from decisioning.contact.limits import PREFERENCES
from decisioning.decide.eligibility import EligibilityInputs
from decisioning.model.decision import CustomerSnapshot, SnapshotContact, SnapshotSuppression
from profiles.customer import Customer, Suppression


def customer_snapshot(
    inputs: EligibilityInputs, unlikely: tuple[tuple[int, float], ...] = ()
) -> CustomerSnapshot:
    """Take the part of the profile and of the contact history that the placement looks at.

    ``unlikely``: number and propensity of offers below their minimum: they are not among the logged candidates.
    """
    view, customer, history = inputs.view, inputs.profile.customer, inputs.history
    wanted = {names[1] for _, names, _ in view.plan.places if names[0] == "customer"}
    wanted.update(PREFERENCES)
    relevant = None if history is None else view.contact.relevant(customer, history)
    suppressions = customer.suppressions
    return CustomerSnapshot(
        known=customer.known,
        attributes={name: customer.attributes[name] for name in wanted if name in customer.attributes},
        indicators={name: customer.indicators[name] for name in wanted if name in customer.indicators},
        interests=customer.interests if "interests" in wanted else None,
        holdings=customer.holdings if "holdings" in wanted else None,
        consents=customer.consents if view.consents else {},
        # None says that it could not be read, and is kept apart from nothing: the explanation tells them apart.
        history=None
        if relevant is None
        else tuple(SnapshotContact(c.offer, c.at_ms, c.group, c.goal, c.kind, c.channel) for c in relevant),
        suppressions=None
        if suppressions is None
        else tuple(SnapshotSuppression(s.list_id, s.reason, s.until_ms, s.added_ms) for s in suppressions),
        exhausted=tuple(sorted(inputs.exhausted)),
        unlikely=unlikely,
    )


def customer_of(customer_id: str, snapshot: CustomerSnapshot) -> Customer:
    """Make the customer again, as far as the decision looked."""
    suppressions = snapshot.suppressions
    return Customer(
        customer_id,
        dict(snapshot.attributes),
        dict(snapshot.indicators),
        snapshot.holdings or (),
        dict(snapshot.interests or {}),
        dict(snapshot.consents),
        bool(snapshot.known),
        None if suppressions is None else tuple(Suppression(*astuple(entry)) for entry in suppressions),
    )


def history_of(snapshot: CustomerSnapshot) -> list[Contact] | None:
    """Return the contact history as it was read; ``None`` if it could not be."""
    found = snapshot.history
    return None if found is None else [Contact(*astuple(contact)) for contact in found]
