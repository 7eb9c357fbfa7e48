"""Outcomes that are declared: what they earn, and how that is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from decisioning.log.codec import outcome_fields, parse_entry
from decisioning.log.store_sql import OUTCOME_COLUMNS, outcome_row
from decisioning.model.outcome import DeclaredOutcome, Earned, parse_earned, worth_text
from tests.support.logged import ACCEPTED

DECLARED = {
    "quoted": DeclaredOutcome("quoted", reward=0.3, place=50),
    "complaint": DeclaredOutcome("complaint", reward=-10.0),
    "left": DeclaredOutcome("left", reward=-5.0, place=300, terminal=True),
}
numbers = st.floats(-1e6, 1e6)
amounts = st.builds(
    Earned,
    st.none() | numbers,
    numbers,
    st.integers(0, 2**53),
    st.integers(0, 1000),
    numbers,
    numbers,
    st.sampled_from([None, "left"]),
)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("quoted", "0.3 50 0"),
        ("complaint", "-10.0 0 0"),
        ("left", "-5.0 300 1"),
        ("accepted", "1.0 100 0"),
        ("rejected", "0.0 100 0"),
        ("presented", ""),
        ("clicked", ""),
    ],
)
def test_answers_have_a_worth_as_soon_as_anything_is_declared(outcome: str, expected: str) -> None:
    assert worth_text(outcome, DECLARED) == expected
    assert worth_text(outcome, {}) == ""


def test_what_is_built_in_can_be_declared_with_another_worth() -> None:
    declared = {
        "accepted": DeclaredOutcome("accepted", reward=2.0),
        "clicked": DeclaredOutcome("clicked", reward=0.1, place=10),
    }
    assert worth_text("accepted", declared) == "2.0 100 0"
    assert worth_text("clicked", declared) == "0.1 10 0"


@given(amounts)
def test_what_is_earned_is_read_from_the_log_and_the_archive_as_it_was_written(earned: Earned) -> None:
    outcome = structs.replace(ACCEPTED, earned=earned)
    flat = outcome_fields(outcome)
    fields = {n.encode(): v.encode() for n, v in zip(flat[::2], flat[1::2], strict=True)}
    (read,) = parse_entry(3, ACCEPTED.position, fields)  # type: ignore[misc]
    assert read.earned == earned
    row = dict(zip(OUTCOME_COLUMNS, outcome_row(outcome), strict=True))
    assert parse_earned(row["earned"]) == earned


def test_records_without_anything_earned_are_written_as_before() -> None:
    assert "g" not in outcome_fields(ACCEPTED)[::2]
    assert parse_earned("") is None


def test_declared_outcomes_say_that_an_offer_was_seen_and_the_logs_own_do_not() -> None:
    shows = ("shown", "presented", "clicked", "quoted")
    for kind in (*shows, "accepted", "rejected", "expired", "released", "withdrawn", "closed"):
        assert structs.replace(ACCEPTED, outcome=kind).shows is (kind in shows)
