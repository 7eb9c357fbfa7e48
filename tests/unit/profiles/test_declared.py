"""Values by their declared types."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.customer import Scalar
from profiles.declared import (
    INEXACT,
    IS_A_LIST,
    NOT_AN_INSTANT,
    NOT_TEXT,
    NOT_TRUE_OR_FALSE,
    NOT_WHOLE,
    convert,
    convert_attributes,
    readable_wishes,
)
from profiles.errors import InvalidCustomer
from profiles.limits import BEYOND_64_BITS, NOT_A_NUMBER, NOT_FINITE
from rules.evaluation import _typed

KINDS = ("string", "number", "int", "bool", "timestamp")
scalars = st.one_of(
    st.text(max_size=8),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.booleans(),
    st.integers(-(2**65), 2**65).map(str),
    st.floats().map(repr),
    st.datetimes().map(datetime.isoformat),
    st.sampled_from(["true", "False", " 1 ", "08001", "12E3"]),
)


@pytest.mark.parametrize(
    ("value", "kind", "kept"),
    [
        ("08001", "string", "08001"),
        ("12E3", "string", "12E3"),
        ("true", "string", "true"),
        (28002, "string", "28002"),
        ("12", "number", 12),
        (" 1.5 ", "number", 1.5),
        ("12E3", "number", 12000.0),
        (7, "number", 7),
        ("9007199254740993", "int", 2**53 + 1),
        (2**53 + 1, "int", 2**53 + 1),
        (4.0, "int", 4),
        ("4.0", "int", 4),
        ("TRUE", "bool", True),
        (False, "bool", False),
        ("2026-03-01", "timestamp", "2026-03-01"),
    ],
)
def test_a_value_is_kept_as_its_type_keeps_it(value: Scalar, kind: str, kept: Scalar) -> None:
    assert repr(convert(value, kind)) == repr(kept)


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (28002.0, "string", NOT_TEXT),
        (True, "string", NOT_TEXT),
        ("much", "number", NOT_A_NUMBER),
        ("1_0", "number", NOT_A_NUMBER),
        ("٣", "number", NOT_A_NUMBER),
        (True, "number", NOT_A_NUMBER),
        ("1e400", "number", NOT_FINITE),
        (2**63, "number", BEYOND_64_BITS),
        (4.5, "int", NOT_WHOLE),
        (2.0**60, "int", INEXACT),
        ("9223372036854775808", "int", BEYOND_64_BITS),
        ("yes", "bool", NOT_TRUE_OR_FALSE),
        (1, "bool", NOT_TRUE_OR_FALSE),
        ("2026-02-30", "timestamp", NOT_AN_INSTANT),
        ("01/03/2026", "timestamp", NOT_AN_INSTANT),
        (1772357400, "timestamp", NOT_AN_INSTANT),
        ("a|b", "list", IS_A_LIST),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(value: Scalar, kind: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        convert(value, kind)


@given(scalars, st.sampled_from(KINDS))
def test_what_was_kept_is_kept_again_and_rules_can_read_it(value: Scalar, kind: str) -> None:
    try:
        kept = convert(value, kind)
    except ValueError:
        return
    assert repr(convert(kept, kind)) == repr(kept)
    read = _typed(kept, kind)
    assert read is not None
    if kind in ("string", "bool", "int"):
        assert read == kept
        assert type(read) is type(kept)
    if kind == "timestamp":
        assert read.astimezone(UTC).tzinfo is UTC or read.year in (1, 9999)


@pytest.mark.parametrize("name", ["customer_id", "holdings", "interests", "known"])
def test_an_attribute_that_no_rule_could_see_is_refused(name: str) -> None:
    with pytest.raises(InvalidCustomer, match="no rule could see") as caught:
        convert_attributes({"age": 3, name: "x"}, {})
    assert caught.value.field == f"attributes.{name}"


def test_undeclared_attributes_stay_as_they_are_and_the_first_wrong_one_is_named() -> None:
    given_ = {"a": "1", "b": "1"}
    assert convert_attributes(given_, {"b": "int"}) == {"a": "1", "b": 1}
    with pytest.raises(InvalidCustomer) as refused:
        convert_attributes({"a": "x", "b": "x"}, {"b": "int"})
    assert refused.value.field == "attributes.b"


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ({"max_contacts_per_day": "1"}, {"max_contacts_per_day": 1}),
        ({"min_gap_s": " 60.5 "}, {"min_gap_s": 60.5}),
        ({"max_contacts_per_week": 2, "city": "1"}, {"max_contacts_per_week": 2, "city": "1"}),
        ({"max_contacts_per_day": "once"}, {"max_contacts_per_day": 0}),
        ({"max_contacts_per_week": True}, {"max_contacts_per_week": 0}),
        ({"min_gap_s": "long"}, {"min_gap_s": 604800}),
        ({"min_gap_s": " "}, {}),
    ],
)
def test_wishes_that_limit_contact_count_whatever_their_type(
    stored: dict[str, Scalar], read: dict[str, Scalar]
) -> None:
    before = dict(stored)
    assert readable_wishes(stored) == read
    assert stored == before
