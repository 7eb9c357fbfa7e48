"""Customers and their profiles: plain values, and the bytes of a profile in the cache.

Layout of the bytes, little-endian: ``nbp`` and a version byte; uint32 CRC-32 of all that follows; uint32 length of the
JSON; the customer as a JSON list, padded with blanks to a multiple of 4; the offer numbers as uint32; their
propensities as float32. The arrays are aligned, so reading them copies nothing.
"""

from dataclasses import dataclass, fields
from struct import Struct
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic_core import PydanticSerializationError, from_json, to_json

from profiles.errors import ProfileCodecError

Scalar = str | float | int | bool
Entries = tuple[str, ...]
"""Consents and objections of one purpose, see ``profiles.consents``."""

ANY_CHANNEL = "*"
OBJECTION = "!"
"""Stands before the channel of an objection."""

NO_OFFERS: NDArray[np.uint32] = np.empty(0, np.uint32)
NO_PROPENSITIES: NDArray[np.float32] = np.empty(0, np.float32)
NO_OFFERS.flags.writeable = False
NO_PROPENSITIES.flags.writeable = False


def has_consent(entries: Entries | None, channel: str) -> bool:
    """Return whether ``entries`` of a purpose hold consent for ``channel``; not if there is no record (``None``)."""
    if not entries or OBJECTION + channel in entries:
        return False
    if channel in entries:
        return True
    return ANY_CHANNEL in entries and OBJECTION + ANY_CHANNEL not in entries


def has_objection(entries: Entries | None, channel: str) -> bool:
    """Return whether ``entries`` of a purpose hold an objection to ``channel``."""
    if entries is None:
        return False
    if not entries or OBJECTION + channel in entries:
        return True
    return channel not in entries and OBJECTION + ANY_CHANNEL in entries


@dataclass(frozen=True, slots=True)
class OfferScope:
    """The offers that a suppression is about: those of ``goals``, ``groups`` and ``offers``, all if none is named.

    Left out are those of ``except_goals`` and ``except_groups``. In ``channels`` alone, if any are named.
    """

    goals: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    except_goals: tuple[str, ...] = ()
    except_groups: tuple[str, ...] = ()

    def covers(self, offer_id: str, group: str, goal: str, channel: str) -> bool:
        """Return whether an offer of a group and goal is one of them, in a channel."""
        if self.channels and channel not in self.channels:
            return False
        if goal in self.except_goals or group in self.except_groups:
            return False
        if not (self.goals or self.groups or self.offers):
            return True
        return goal in self.goals or group in self.groups or offer_id in self.offers


EVERYTHING = OfferScope()


def read_scope(value: object) -> OfferScope:
    """Read a scope from plain JSON. Raises ``ValueError``, saying what is wrong."""
    if not isinstance(value, dict):
        raise ValueError('must be an object, such as {"except_goals": ["serve"]}')
    for name, items in value.items():
        if name not in _SCOPE_FIELDS:
            raise ValueError(f"has no {name!r}; there are {', '.join(_SCOPE_FIELDS)}")
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise ValueError(f"{name} must be a list of texts")
    return OfferScope(**{name: tuple(items) for name, items in value.items()})


def scope_fields(scope: OfferScope) -> dict[str, list[str]]:
    """Return the fields of a scope that name anything, as plain JSON."""
    named = ((name, getattr(scope, name)) for name in _SCOPE_FIELDS)
    return {name: list(items) for name, items in named if items}


_SCOPE_FIELDS = tuple(field.name for field in fields(OfferScope))


@dataclass(frozen=True, slots=True)
class Suppression:
    """A customer's entry in a suppression list, such as a do-not-contact register. Times in Unix ms.

    ``until_ms`` is when it ends (exclusive), ``None`` if it does not end by itself. ``scope``: the offers that it is
    about; ``None`` if it keeps everything from the customer.
    """

    list_id: str
    reason: str
    until_ms: int | None
    added_ms: int
    scope: OfferScope | None = None

    @classmethod
    def read(
        cls, list_id: str, reason: str, until_ms: int | None, added_ms: int, scope: object = None
    ) -> "Suppression":
        """Read an entry. A scope that cannot be read, as a later version may write one, leaves it without any."""
        try:
            about = None if scope is None else read_scope(scope)
        except ValueError:
            about = None
        return cls(list_id, reason, until_ms, added_ms, about)

    @property
    def written(self) -> tuple[Any, ...]:
        """The values that ``read`` takes: without a scope those of earlier versions, which know none."""
        values = (self.list_id, self.reason, self.until_ms, self.added_ms)
        return values if self.scope is None else (*values, scope_fields(self.scope))

    def holds(self, now_ms: int) -> bool:
        """Return whether it is in force at a time (Unix ms)."""
        return self.until_ms is None or now_ms < self.until_ms


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer's record, apart from propensities.

    ``consents`` maps a purpose to entries: channels that the customer agreed to, and with ``!`` before them those that
    the customer objected to (``profiles.consents``).
    ``known`` is false for a customer of whom no record exists. ``suppressions`` are the entries in suppression lists,
    also for customers without a record; ``None`` if they could not be read. ``household_id``: of the household that the
    customer belongs to, if any.
    """

    customer_id: str
    attributes: dict[str, Scalar]
    indicators: dict[str, float]
    holdings: tuple[str, ...]
    interests: dict[str, float]
    consents: dict[str, tuple[str, ...]]
    known: bool = True
    suppressions: tuple[Suppression, ...] | None = ()
    household_id: str | None = None

    @classmethod
    def unknown(cls, customer_id: str) -> "Customer":
        """Make a customer without a record: nothing is known, and nothing was consented to."""
        return cls(customer_id, {}, {}, (), {}, {}, known=False)

    @classmethod
    def unreadable(cls, customer_id: str) -> "Customer":
        """Make a customer of whom nothing could be read: no consent, and nobody knows of which lists."""
        return cls(customer_id, {}, {}, (), {}, {}, known=False, suppressions=None)

    def suppressed(self, now_ms: int) -> bool:
        """Return whether a suppression list keeps everything from the customer; False if unknown.

        Look at ``suppressions`` for whether it is known, and for entries about some offers.
        """
        return any(s.scope is None and s.holds(now_ms) for s in self.suppressions or ())

    def consents_to(self, purpose: str, channel: str) -> bool:
        """Return whether the customer agreed to be contacted for ``purpose`` in ``channel``. No record means no."""
        return has_consent(self.consents.get(purpose), channel)

    def objects_to(self, purpose: str, channel: str) -> bool:
        """Return whether the customer objected to being contacted for ``purpose`` in ``channel``."""
        return has_objection(self.consents.get(purpose), channel)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A customer with the precomputed propensities, kept sparse.

    ``offer_nos`` has shape (n,), sorted and without repeats; ``propensities`` the same shape, each in 0..1.
    ``fingerprint`` is a checksum of a profile that was read from the cache, and 0 for any other. ``holds_for_ms``: for
    how long what was read holds, where a consent ends; ``None`` if none does, and of a cached profile.
    """

    customer: Customer
    offer_nos: NDArray[np.uint32]
    propensities: NDArray[np.float32]
    fingerprint: int = 0
    holds_for_ms: int | None = None

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


CACHE_VERSION = 4
CACHE_MAGIC = b"nbp" + bytes([CACHE_VERSION])
TOMBSTONE = b"T"
"""Stands in the cache while a customer is being changed. No profile's bytes are equal to it."""

_HEADER = Struct("<4sII")
_CHECKED_FROM = 8
_BODY_FROM = _HEADER.size


def encode_profile(profile: Profile) -> bytes:
    """Encode ``profile``.

    Raises ``ProfileCodecError`` for text that is not Unicode, and for a profile that could not be read.
    """
    c = profile.customer
    if c.suppressions is None:
        raise ProfileCodecError("what could not be read cannot be written")
    suppressions = [s.written for s in c.suppressions]
    try:
        head = to_json(
            [
                c.customer_id,
                c.known,
                c.attributes,
                c.indicators,
                c.holdings,
                c.interests,
                c.consents,
                suppressions,
                c.household_id,
            ],
            inf_nan_mode="constants",
        )
    except PydanticSerializationError as error:
        raise ProfileCodecError(f"the profile cannot be written: {error}") from error
    head += b" " * (-len(head) % 4)  # aligns the arrays behind it
    checked = b"".join(
        (
            len(head).to_bytes(4, "little"),
            head,
            profile.offer_nos.astype("<u4", copy=False).tobytes(),
            profile.propensities.astype("<f4", copy=False).tobytes(),
        )
    )
    return CACHE_MAGIC + crc32(checked).to_bytes(4, "little") + checked


def decode_profile(blob: bytes) -> Profile:
    """Decode what ``encode_profile`` wrote; the profile's arrays are read-only views of ``blob``.

    Raises ``ProfileCodecError`` for anything else: a tombstone, another version, a truncated or changed blob.
    """
    if blob[:4] != CACHE_MAGIC:
        raise ProfileCodecError(f"not a profile of version {CACHE_VERSION}")
    try:
        _, crc, size = _HEADER.unpack_from(blob)
        if crc32(memoryview(blob)[_CHECKED_FROM:]) != crc:
            raise ProfileCodecError("the profile is damaged")
        arrays_from = _BODY_FROM + size
        count, left = divmod(len(blob) - arrays_from, 8)
        if left:
            raise ProfileCodecError("the profile is damaged")
        customer = _customer(from_json(blob[_BODY_FROM:arrays_from]))
        return Profile(
            customer,
            np.frombuffer(blob, "<u4", count, arrays_from),
            np.frombuffer(blob, "<f4", count, arrays_from + 4 * count),
            crc,
        )
    except ProfileCodecError:
        raise
    except Exception as error:  # whatever bytes those are, the caller's answer is to read the record instead
        raise ProfileCodecError(f"the profile cannot be read: {error}") from error


def decode_cached(value: bytes | None) -> Profile | None:
    """Decode the result of a cache lookup; ``None`` for a miss, a tombstone, and anything that is not readable."""
    if value is None or value == TOMBSTONE:
        return None
    try:
        return decode_profile(value)
    except ProfileCodecError:
        return None


def _customer(fields: list[Any]) -> Customer:
    customer_id, known, attributes, indicators, holdings, interests, consents, suppressions, household_id = (
        fields
    )
    return Customer(
        customer_id,
        attributes,
        indicators,
        tuple(holdings),
        interests,
        {purpose: tuple(channels) for purpose, channels in consents.items()},
        known,
        tuple(Suppression.read(*entry) for entry in suppressions),
        household_id,
    )
