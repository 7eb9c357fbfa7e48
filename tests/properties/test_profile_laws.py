"""Laws of profiles: the codec loses nothing and notices damage; dense agrees with a dictionary."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.customer import Customer, Profile, Scalar, Suppression, decode_profile, encode_profile
from profiles.errors import ProfileCodecError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
scalars: st.SearchStrategy[Scalar] = st.one_of(
    texts, numbers, st.integers(-(2**63), 2**63 - 1), st.booleans()
)
customers = st.builds(
    Customer,
    customer_id=texts,
    attributes=st.dictionaries(texts, scalars, max_size=8),
    indicators=st.dictionaries(texts, numbers, max_size=4),
    holdings=st.lists(texts, max_size=4).map(tuple),
    interests=st.dictionaries(texts, numbers, max_size=4),
    consents=st.dictionaries(texts, st.lists(texts, max_size=3).map(tuple), max_size=4),
    known=st.booleans(),
    suppressions=st.lists(
        st.builds(Suppression, texts, texts, st.none() | st.integers(0, 2**53), st.integers(0, 2**53)),
        max_size=3,
    ).map(tuple),
)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Any profile, with up to 30 propensities."""
    offers = draw(st.lists(st.integers(0, 2**32 - 1), max_size=30, unique=True).map(sorted))
    values = draw(st.lists(st.floats(0, 1, width=32), min_size=len(offers), max_size=len(offers)))
    return Profile(draw(customers), np.array(offers, np.uint32), np.array(values, np.float32))


@given(profiles())
def test_decode_undoes_encode(profile: Profile) -> None:
    read = decode_profile(encode_profile(profile))
    assert read.customer == profile.customer
    assert repr(read.customer) == repr(profile.customer)  # 1 is not 1.0, 0.0 is not -0.0
    np.testing.assert_array_equal(read.offer_nos, profile.offer_nos)
    np.testing.assert_array_equal(read.propensities, profile.propensities)


@given(profiles(), st.data())
def test_any_change_of_the_bytes_is_noticed(profile: Profile, data: st.DataObject) -> None:
    blob = bytearray(encode_profile(profile))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProfileCodecError):
        decode_profile(bytes(blob))


@given(profiles(), st.data())
def test_a_cut_or_longer_blob_is_noticed(profile: Profile, data: st.DataObject) -> None:
    blob = encode_profile(profile)
    with pytest.raises(ProfileCodecError):
        decode_profile(blob[: data.draw(st.integers(0, len(blob) - 1))])
    with pytest.raises(ProfileCodecError):
        decode_profile(blob + data.draw(st.binary(min_size=1, max_size=16)))


@given(st.binary(max_size=64))
def test_no_other_error_comes_out_of_any_bytes(blob: bytes) -> None:
    with pytest.raises(ProfileCodecError):
        decode_profile(blob)


@given(profiles(), st.data())
def test_dense_agrees_with_a_dictionary(profile: Profile, data: st.DataObject) -> None:
    own = profile.offer_nos.tolist()
    ids: st.SearchStrategy[Any] = st.integers(0, 2**32 - 1)
    asked = data.draw(
        st.one_of(st.just(own), st.permutations(own), st.lists(st.sampled_from(own) | ids if own else ids))
    )
    scores = dict(zip(own, profile.propensities.tolist(), strict=True))
    expected = [scores.get(offer_no, math.nan) for offer_no in asked]
    dense = profile.dense(np.array(asked, np.uint32))
    assert dense.dtype == np.float32
    np.testing.assert_array_equal(dense, np.array(expected, np.float32))
