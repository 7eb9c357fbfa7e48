"""The bytes in the cache; the laws are in tests/properties."""

import numpy as np
import pytest

from profiles.customer import (
    CACHE_MAGIC,
    CACHE_VERSION,
    TOMBSTONE,
    Customer,
    OfferScope,
    Profile,
    Suppression,
    decode_cached,
    decode_profile,
    encode_profile,
)
from profiles.errors import ProfileCodecError

LISTED = (
    Suppression("complaints", "slow", 1_800_000_000_000, 1_700_000_000_000),
    Suppression("register", "", None, 0),
    Suppression("sales", "angry", None, 0, OfferScope(goals=("grow",), channels=("web", "agent"))),
)
PROFILE = Profile(
    Customer(
        "c1",
        {"age": 41, "rate": 2.0, "vip": False},
        {"clv": 3.5},
        ("loan",),
        {},
        {"ads": ("*",)},
        True,
        LISTED,
        "H-1",
    ),
    np.array([1, 7], np.uint32),
    np.array([0.25, 1.0], np.float32),
)


def test_a_tombstone_is_no_profile() -> None:
    with pytest.raises(ProfileCodecError):
        decode_profile(TOMBSTONE)
    assert decode_cached(TOMBSTONE) is None
    assert decode_cached(None) is None
    assert decode_cached(encode_profile(PROFILE)) is not None


def test_another_version_is_a_miss() -> None:
    blob = encode_profile(PROFILE)
    assert blob[:4] == CACHE_MAGIC == b"nbp\x04"
    other = blob[:3] + bytes([CACHE_VERSION + 1]) + blob[4:]
    with pytest.raises(ProfileCodecError, match="version 4"):
        decode_profile(other)
    assert decode_cached(other) is None


@pytest.mark.parametrize(
    "blob", [b"", b"n", CACHE_MAGIC, CACHE_MAGIC + b"\0" * 7, CACHE_MAGIC + b"\0" * 8, b"\x80\x04N."]
)
def test_short_and_foreign_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(ProfileCodecError):
        decode_profile(blob)


def test_numbers_keep_their_types_and_arrays_are_read_only() -> None:
    read = decode_profile(encode_profile(PROFILE))
    assert read.customer == PROFILE.customer
    assert [type(value) for value in read.customer.attributes.values()] == [int, float, bool]
    assert read.offer_nos.dtype == np.uint32
    assert read.propensities.dtype == np.float32
    assert not read.offer_nos.flags.writeable
    assert read.offer_nos.flags.aligned
    assert read.propensities.flags.aligned


def test_text_that_is_not_unicode_is_refused_when_written() -> None:
    with pytest.raises(ProfileCodecError, match="cannot be written"):
        encode_profile(Profile.unknown("\ud800"))


def test_what_could_not_be_read_is_never_written() -> None:
    """Else a customer on a suppression list could be taken for one who is on none."""
    with pytest.raises(ProfileCodecError, match="could not be read"):
        encode_profile(Profile.unreadable("c1"))
    assert decode_profile(encode_profile(PROFILE)).customer.suppressions == LISTED
