"""The one form of a customer's id."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.customer_id import BLANKS, HAS_CONTROL, checked_id, normal_customer_id
from profiles.errors import InvalidCustomer

texts = st.text(st.characters() | st.sampled_from([*BLANKS, "\u0301", "e", "é"]), max_size=12)


@pytest.mark.parametrize(
    "written",
    [
        "José",
        "Jose\u0301",
        " José",
        "José\u00a0",
        "\u202fJosé\u3000",
        "\ufeffJose\u0301\u200b \u2060",
        "\u2007José",
    ],
)
def test_one_customer_has_one_id_however_it_is_written(written: str) -> None:
    assert normal_customer_id(written) == "José"


@pytest.mark.parametrize("inner", ["\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\u200b", "\ufeff"])
@pytest.mark.parametrize("place", ["{}c1", "c1{}", "c{}1"])
def test_control_characters_are_refused_wherever_they_stand(inner: str, place: str) -> None:
    if inner in BLANKS and not place.startswith("c{"):
        assert normal_customer_id(place.format(inner)) == "c1"
        return
    with pytest.raises(ValueError, match=HAS_CONTROL):
        normal_customer_id(place.format(inner))


@pytest.mark.parametrize("text", ["", " ", "\u00a0\ufeff", "x" * 129, "a\0b", "\ud800"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidCustomer, match="customer_id: "):
        checked_id(text)


def test_the_length_is_that_of_the_normal_form() -> None:
    assert normal_customer_id(" " + "e\u0301" * 128) == "é" * 128


@given(texts)
def test_the_normal_form_is_normal(text: str) -> None:
    try:
        normal = normal_customer_id(text)
    except ValueError:
        return
    assert normal_customer_id(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert normal.strip(BLANKS) == normal == normal.strip()


@given(texts, st.text(st.sampled_from(BLANKS), max_size=3), st.text(st.sampled_from(BLANKS), max_size=3))
def test_blanks_around_and_decomposition_make_no_other_customer(text: str, before: str, after: str) -> None:
    try:
        normal = normal_customer_id(text)
    except ValueError:
        return
    assert normal_customer_id(before + unicodedata.normalize("NFD", normal) + after) == normal
