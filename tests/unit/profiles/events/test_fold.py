"""The fold of events: what each adds, and what stays."""

from fractions import Fraction

import pytest

from profiles.events.declared import Aggregate, Concept, Signal
from profiles.events.definitions import field_name, prepare
from profiles.events.fold import MAX_TEXT_CHARS, Increment, apply, fold, grown, increments_of
from tests.support.events import BILL, DAY_MS, NOW_MS, call, make_event, match_reason

CALLS = Aggregate("calls", "call", "count", window="1h")
BILLS = Aggregate("bills", "call", "count", where=BILL, window="1h")
TALK = Aggregate("talk", "call", "sum", property="minutes", window="1h")
REASON = Aggregate("reason", "call", "last", property="reason")
N, S, L = field_name(CALLS, "n"), field_name(TALK, "s"), field_name(REASON, "l")
MINUTE = NOW_MS // 60_000


def test_an_event_adds_to_what_is_made_of_its_type() -> None:
    definitions = prepare([CALLS, BILLS, TALK, REASON], matcher=match_reason)
    event = call("e1", NOW_MS + 59_999, reason="bill", minutes=2.5)
    assert increments_of(definitions, event) == (
        Increment(N, MINUTE, 1, 61),
        Increment(field_name(BILLS, "n"), MINUTE, 1, 61),
        Increment(S, MINUTE, 2_500_000, 61),
        Increment(L, NOW_MS + 59_999, 0, 1, '"bill"'),
    )
    assert increments_of(definitions, make_event("e2", "visit", NOW_MS)) == ()


def test_an_event_that_does_not_meet_the_condition_adds_nothing() -> None:
    definitions = prepare([BILLS], matcher=match_reason)
    assert increments_of(definitions, call("e1", NOW_MS, reason="fault")) == ()
    assert increments_of(definitions, call("e1", NOW_MS)) == ()


@pytest.mark.parametrize("value", [None, "2", True, float("nan"), float("inf"), -1e300, 1.1e9, [1.0]])
def test_what_is_no_number_adds_nothing_to_sums_and_means(value: object) -> None:
    mean = Aggregate("mean", "call", "mean", property="minutes", window="1h")
    properties = {} if value is None else {"minutes": value}
    assert increments_of(prepare([TALK, mean]), make_event("e1", "call", NOW_MS, properties)) == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [("Málaga", '"Málaga"'), (3, "3"), (2.5, "2.5"), (True, "true"), ("x" * 500, f'"{"x" * MAX_TEXT_CHARS}"')],
)  # fmt: skip
def test_the_last_value_is_remembered_as_json(value: object, text: str) -> None:
    (increment,) = increments_of(prepare([REASON]), make_event("e1", "call", NOW_MS, {"reason": value}))
    assert increment.value == text


@pytest.mark.parametrize("value", [["a"], float("nan"), 2**63, None])
def test_what_cannot_be_remembered_leaves_the_value_before(value: object) -> None:
    assert increments_of(prepare([REASON]), make_event("e1", "call", NOW_MS, {"reason": value})) == ()


def test_tiles_are_added_up_sorted_and_dropped_behind_the_newest() -> None:
    state = apply({}, [Increment("f", 10, 1, 3)], "a")
    state = apply(state, [Increment("f", 8, 5, 3), Increment("f", 10, 1, 3)], "b")
    assert state == {"f": [8, 5, 10, 2]}
    assert apply(state, [Increment("f", 11, 1, 3)], "c") == {"f": [10, 2, 11, 1]}
    assert apply(state, [Increment("f", 7, 9, 3)], "d") == state
    assert apply(state, [Increment("f", 99, 9, 3)], "e") == {"f": [99, 9]}
    assert state == {"f": [8, 5, 10, 2]}  # nothing was changed in place


def test_of_what_is_remembered_the_newest_stays_and_of_two_at_once_the_greater_id() -> None:
    state = apply({}, [Increment("l", 5, 0, 1, '"old"')], "b")
    assert apply(state, [Increment("l", 4, 0, 1, '"older"')], "z") == state
    assert apply(state, [Increment("l", 5, 0, 1, '"same"')], "a") == state
    assert apply(state, [Increment("l", 5, 0, 1, '"same"')], "c") == {"l": [5, "c", '"same"']}


def test_an_event_that_comes_twice_counts_once() -> None:
    event = call("e1", NOW_MS)
    assert fold(prepare([CALLS]), [event, event]) == fold(prepare([CALLS]), [event])


def test_two_signals_of_one_concept_add_up() -> None:
    concept = Concept("money", (Signal("call"), Signal("call", 0.5, BILL)), "1d")
    definitions = prepare([], [concept], match_reason)
    at_ms = NOW_MS // DAY_MS * DAY_MS  # the start of a tile, where nothing grows
    state = fold(definitions, [call("e1", at_ms, reason="bill")])
    assert state == {field_name(concept, "w"): [at_ms // DAY_MS, 1_500_000]}


def test_weights_grow_by_powers_of_two_within_a_millionth() -> None:
    for into_ms in range(0, DAY_MS, 1_234_567):
        exact = 1_000_000 * 2.0 ** (into_ms / DAY_MS)
        assert 0 <= exact - grown(1_000_000, into_ms, DAY_MS) <= 1 + exact * 1e-6
    assert grown(3_000_000, 0, DAY_MS) == 3_000_000
    assert Fraction(grown(10**9, DAY_MS // 2, DAY_MS), 10**9) == Fraction(1_414_213_562, 10**9)
