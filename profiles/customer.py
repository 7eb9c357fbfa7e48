"""Customers and their profiles: plain values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scalar = str | float | int | bool

ANY_CHANNEL = "*"

NO_OFFERS: NDArray[np.uint32] = np.empty(0, np.uint32)
NO_PROPENSITIES: NDArray[np.float32] = np.empty(0, np.float32)
NO_OFFERS.flags.writeable = False
NO_PROPENSITIES.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Suppression:
    """A customer's entry in a suppression list, such as a do-not-contact register. Times in Unix ms.

    ``until_ms`` is when it ends (exclusive), ``None`` if it does not end by itself.
    """

    list_id: str
    reason: str
    until_ms: int | None
    added_ms: int

    def holds(self, now_ms: int) -> bool:
        """Return whether it is in force at a time (Unix ms)."""
        return self.until_ms is None or now_ms < self.until_ms


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer's record, apart from propensities.

    ``consents`` maps a purpose to the channels that the customer agreed to; ``"*"`` stands for all of them.
    ``known`` is false for a customer of whom no record exists. ``suppressions`` are the entries in suppression lists,
    also for customers without a record; ``None`` if they could not be read.
    """

    customer_id: str
    attributes: dict[str, Scalar]
    indicators: dict[str, float]
    holdings: tuple[str, ...]
    interests: dict[str, float]
    consents: dict[str, tuple[str, ...]]
    known: bool = True
    suppressions: tuple[Suppression, ...] | None = ()

    @classmethod
    def unknown(cls, customer_id: str) -> "Customer":
        """Make a customer without a record: nothing is known, and nothing was consented to."""
        return cls(customer_id, {}, {}, (), {}, {}, known=False)

    @classmethod
    def unreadable(cls, customer_id: str) -> "Customer":
        """Make a customer of whom nothing could be read: no consent, and nobody knows of which lists."""
        return cls(customer_id, {}, {}, (), {}, {}, known=False, suppressions=None)

    def suppressed(self, now_ms: int) -> bool:
        """Return whether the customer is on a suppression list; False if unknown: look at ``suppressions``."""
        return any(s.holds(now_ms) for s in self.suppressions or ())

    def consents_to(self, purpose: str, channel: str) -> bool:
        """Return whether the customer agreed to be contacted for ``purpose`` in ``channel``. No record means no."""
        channels = self.consents.get(purpose, ())
        return channel in channels or ANY_CHANNEL in channels


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A customer with the precomputed propensities, kept sparse.

    ``offer_nos`` has shape (n,), sorted and without repeats; ``propensities`` the same shape, each in 0..1.
    ``fingerprint`` is a checksum of a profile that was read from the cache, and 0 for any other.
    """

    customer: Customer
    offer_nos: NDArray[np.uint32]
    propensities: NDArray[np.float32]
    fingerprint: int = 0

    @classmethod
    def unknown(cls, customer_id: str) -> "Profile":
        """Make the profile of a customer without a record: no consent and no propensities."""
        return cls(Customer.unknown(customer_id), NO_OFFERS, NO_PROPENSITIES)

    @classmethod
    def unreadable(cls, customer_id: str) -> "Profile":
        """Make the profile of a customer of whom nothing could be read. It is never cached."""
        return cls(Customer.unreadable(customer_id), NO_OFFERS, NO_PROPENSITIES)

    def dense(self, offer_nos: NDArray[np.uint32]) -> NDArray[np.float32]:
        """Look up propensities for ``offer_nos`` (shape (k,), any order): the same shape, NaN where there is none.

        Treat the result as read-only: it may be the profile's own array.
        """
        own = self.offer_nos
        # Very often all offers have a propensity; comparing bytes is cheaper than searching.
        if own.size == offer_nos.size and own.tobytes() == offer_nos.tobytes():
            return self.propensities
        if not own.size:
            return np.full(offer_nos.shape, np.nan, np.float32)
        at = own.searchsorted(offer_nos)
        missing = own.take(at, mode="clip") != offer_nos
        found = self.propensities.take(at, mode="clip")
        found[missing] = np.nan
        return found
