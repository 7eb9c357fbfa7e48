"""The bytes of a cached profile: versioned, compact, and checked by a CRC.

Layout, little-endian: ``nbp`` and a version byte; uint32 CRC-32 of all that follows; uint32 length of the
JSON; the customer as a JSON list, padded with blanks to a multiple of 4; the offer numbers as uint32; their
propensities as float32. The arrays are aligned, so reading them copies nothing.
"""

from struct import Struct
from typing import Any
from zlib import crc32

import numpy as np
from pydantic_core import PydanticSerializationError, from_json, to_json

from profiles.customer import Customer, Profile, Suppression
from profiles.errors import ProfileCodecError

VERSION = 2
MAGIC = b"nbp" + bytes([VERSION])
TOMBSTONE = b"T"
"""Stands in the cache while a customer is being changed. No profile's bytes are equal to it."""

_HEADER = Struct("<4sII")
_CHECKED_FROM = 8
_BODY_FROM = _HEADER.size


def encode(profile: Profile) -> bytes:
    """Encode ``profile``.

    Raises ``ProfileCodecError`` for text that is not Unicode, and for a profile that could not be read.
    """
    c = profile.customer
    if c.suppressions is None:
        raise ProfileCodecError("what could not be read cannot be written")
    suppressions = [(s.list_id, s.reason, s.until_ms, s.added_ms) for s in c.suppressions]
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
    return MAGIC + crc32(checked).to_bytes(4, "little") + checked


def decode(blob: bytes) -> Profile:
    """Decode what ``encode`` wrote; the profile's arrays are read-only views of ``blob``.

    Raises ``ProfileCodecError`` for anything else: a tombstone, another version, a truncated or changed blob.
    """
    if blob[:4] != MAGIC:
        raise ProfileCodecError(f"not a profile of version {VERSION}")
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
        return decode(value)
    except ProfileCodecError:
        return None


def _customer(fields: list[Any]) -> Customer:
    customer_id, known, attributes, indicators, holdings, interests, consents, suppressions = fields
    return Customer(
        customer_id,
        attributes,
        indicators,
        tuple(holdings),
        interests,
        {purpose: tuple(channels) for purpose, channels in consents.items()},
        known,
        tuple(Suppression(*entry) for entry in suppressions),
    )
