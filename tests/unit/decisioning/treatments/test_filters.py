"""Values as texts show them, and filters on them."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.treatments.filters import (
    FILTER_USAGE,
    FILTERS,
    MAX_LIST_ITEMS,
    MAX_VALUE_CHARS,
    FallbackText,
    format_value,
    plain_value,
    takes_arguments,
    unless_fallback,
)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(object()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)


@given(ANYTHING)
def test_a_plain_value_stays_as_it_is_and_can_be_written(value: Any) -> None:
    plain = plain_value(value)
    assert plain_value(plain) == plain
    assert (format_value(plain) == "") == (plain is None)
    if isinstance(plain, list):
        assert all(isinstance(item, str) for item in plain)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_written_without_losing_more_than_the_last_digits(value: float) -> None:
    written = format_value(value)
    assert math.isclose(float(written), value, rel_tol=1e-14, abs_tol=0.5 if abs(value) >= 1e15 else 0)
    if value.is_integer():
        assert set(written) <= set("-0123456789")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (3.0, "3"),
        (0.1, "0.1"),
        (1e15, "1000000000000000"),
        (True, "true"),
        (["a", "b"], "a, b"),
        (None, ""),
        (7, "7"),
    ],
)
def test_values_for_people(value: Any, written: str) -> None:
    assert format_value(value) == written


def test_what_is_shown_is_bounded() -> None:
    assert plain_value("x" * (MAX_VALUE_CHARS + 1)) == "x" * MAX_VALUE_CHARS
    assert plain_value(["x"] * (MAX_LIST_ITEMS + 1)) == ["x"] * MAX_LIST_ITEMS
    assert plain_value(["x" * (MAX_VALUE_CHARS + 1)]) == ["x" * MAX_VALUE_CHARS]
    assert (plain_value(2**63 - 1), plain_value(2**63)) == (2**63 - 1, None)


def test_lists_inside_of_lists_and_what_is_empty_are_left_out() -> None:
    assert plain_value([1, ["no"], None, "  ", True, 0.5, math.nan]) == ["1", "true", "0.5"]
    assert plain_value([[], {}, ""]) is None
    assert plain_value({"a": 1}) is None


@given(st.sampled_from(sorted(FILTERS)), ANYTHING)
def test_no_filter_fails_on_a_plain_value(name: str, value: Any) -> None:
    arguments = ["x"] if name == "default" else []
    result = FILTERS[name](plain_value(value), *arguments)
    assert isinstance(format_value(result), str)


def test_filters_leave_what_they_are_not_about() -> None:
    assert [FILTERS["round"](value) for value in (True, "1.5", 2)] == [True, "1.5", 2.0]
    assert FILTERS["round"](1.25, 1) == 1.2
    assert [FILTERS["default"](value, "you") for value in (None, "", 0, False)] == ["you", "you", 0, False]
    assert [FILTERS["join"](value, "-") for value in (["a", "b"], 1.0)] == ["a-b", "1"]


def test_fallbacks_pass_through_filters() -> None:
    upper = unless_fallback(FILTERS["upper"])
    assert (upper("a"), upper(FallbackText("a"))) == ("A", "a")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "default",
            [["x"], ["x", True], [""]],
            [[], [1], [None], ["x", 1, 2], ["x", None], ["\x00"], ["\ud800"]],
        ),
        ("join", [[], [", "]], [[1], ["a", "b"], [None]]),
        ("round", [[], [0], [10]], [[11], [-1], [True], [1.0], [1, 2]]),
        ("upper", [[]], [["x"]]),
    ],
)
def test_arguments_of_filters(name: str, good: list[list[Any]], bad: list[list[Any]]) -> None:
    assert [arguments for arguments in good if not takes_arguments(name, arguments)] == []
    assert [arguments for arguments in bad if takes_arguments(name, arguments)] == []


def test_every_filter_says_how_it_is_used() -> None:
    assert set(FILTERS) == set(FILTER_USAGE)
