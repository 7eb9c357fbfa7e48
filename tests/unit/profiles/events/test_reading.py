"""Reading what events told: windows, last values, habits and interests at a moment."""

import pytest

from profiles.events.declared import Aggregate, Concept, Signal
from profiles.events.definitions import EventDefinitions, prepare
from profiles.events.fold import fold
from profiles.events.reading import MAX_DEVIATION, ranked, read_aggregates, read_interests
from tests.support.events import DAY_MS, DEFINITIONS, NOW_MS, call, make_event

HOUR_MS = 3_600_000


def test_a_customer_without_events_has_zeros_and_nothing_else() -> None:
    expected = {"calls_7d": 0, "bill_calls": 0, "talked_1h": 0.0}
    assert read_aggregates(DEFINITIONS, {}, NOW_MS) == expected
    assert read_interests(DEFINITIONS, {}, NOW_MS) == {"service": 0.0, "reading": 0.0, "nothing": 0.0}


def test_each_function_says_what_it_says() -> None:
    state = fold(
        DEFINITIONS,
        [
            call("e1", NOW_MS - 2 * DAY_MS, reason="bill", minutes=4),
            call("e2", NOW_MS - 10 * 60_000, reason="fault", minutes=2.5),
            call("e3", NOW_MS - 20 * DAY_MS, reason="bill", minutes=5.5),
            make_event("e4", "view", NOW_MS - 3 * HOUR_MS),
        ],
    )
    assert read_aggregates(DEFINITIONS, state, NOW_MS) == {
        "calls_7d": 2,
        "bill_calls": 1,
        "talked_1h": 2.5,
        "talk_length": 4.0,
        "last_reason": "fault",
        "last_minutes": 2.5,
        "since_call": pytest.approx(10 / 1440),
        "since_view": 3.0,
        "more_talk": pytest.approx((2.5 - 1.0) / 2.0),  # four days with 0, 4, 0 and 0 minutes before
    }


def test_a_window_slides_and_is_empty_in_the_end() -> None:
    calls = prepare([Aggregate("n", "call", "count", window="1h")])
    state = fold(calls, [call("e1", NOW_MS), call("e2", NOW_MS - 30 * 60_000)])
    counted = [read_aggregates(calls, state, NOW_MS + m * 60_000)["n"] for m in (0, 29, 31, 32, 59, 61, 900)]
    assert counted == [2, 2, 1, 1, 1, 0, 0]


def test_a_last_value_leaves_with_its_window_exactly() -> None:
    last = prepare([Aggregate("page", "view", "last", property="path", window="30m")])
    state = fold(last, [make_event("e1", "view", NOW_MS, {"path": "/offers"})])
    assert read_aggregates(last, state, NOW_MS + 30 * 60_000 - 1) == {"page": "/offers"}
    assert read_aggregates(last, state, NOW_MS + 30 * 60_000) == {}


def test_an_event_ahead_of_the_clock_counts_at_once_and_its_age_is_not_negative() -> None:
    definitions = prepare(
        [Aggregate("n", "call", "count", window="1m"), Aggregate("since", "call", "recency", unit="seconds")]
    )
    state = fold(
        definitions, [call("e1", NOW_MS + 45_000), call("e2", NOW_MS + 1_000), call("e3", NOW_MS - 20_000)]
    )
    assert read_aggregates(definitions, state, NOW_MS) == {"n": 2, "since": 0.0}


def habit(of: str = "count", **more: object) -> EventDefinitions:
    """A weekly habit of four weeks, of which two must be known."""
    return prepare([
        Aggregate("d", "call", "deviation", property="minutes", of=of, window="7d", periods=4, min_periods=2, **more)  # type: ignore[arg-type]
    ])  # fmt: skip


def weekly(counts: list[int], minutes: float = 1.0) -> list[object]:
    """Calls in weeks, the current one first."""
    return [
        call(f"w{week}n{n}", NOW_MS - (7 * week + 3) * DAY_MS, minutes=minutes)
        for week, count in enumerate(counts)
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("counts", "deviation"),
    [
        ([5, 1, 2, 3, 1], pytest.approx((5 - 2) / 1.0)),  # the oldest week began before the first event
        ([2, 2, 2, 2, 1], 0.0),
        ([3, 2, 2, 2, 1], MAX_DEVIATION),
        ([0, 2, 2, 2, 1], -MAX_DEVIATION),
        ([0, 5, 5, 0, 1], pytest.approx(-(10 / 3) / (25 / 3) ** 0.5)),
    ],
)
def test_a_deviation_is_from_the_customers_own_habit(counts: list[int], deviation: float) -> None:
    state = fold(habit(), weekly(counts))  # type: ignore[arg-type]
    assert read_aggregates(habit(), state, NOW_MS)["d"] == deviation


@pytest.mark.parametrize("counts", [[], [3], [3, 1], [3, 1, 1]])
def test_with_too_few_periods_there_is_no_deviation(counts: list[int]) -> None:
    assert read_aggregates(habit(), fold(habit(), weekly(counts)), NOW_MS) == {}  # type: ignore[arg-type]


def test_a_long_silence_is_a_habit_of_nothing() -> None:
    state = fold(habit(), [call("e1", NOW_MS - 900 * DAY_MS, minutes=1), call("e2", NOW_MS, minutes=1)])
    assert read_aggregates(habit(), state, NOW_MS)["d"] == MAX_DEVIATION
    before = fold(habit(), [call("e1", NOW_MS - 900 * DAY_MS, minutes=1)])
    assert read_aggregates(habit(), before, NOW_MS)["d"] == 0.0


def test_a_mean_deviates_from_the_means_of_periods_that_have_events() -> None:
    events = [
        call("now", NOW_MS - DAY_MS, minutes=10),
        call("w1", NOW_MS - 10 * DAY_MS, minutes=4),
        call("w2a", NOW_MS - 17 * DAY_MS, minutes=5),
        call("w2b", NOW_MS - 17 * DAY_MS, minutes=7),
        call("old", NOW_MS - 400 * DAY_MS, minutes=100),
    ]
    state = fold(habit("mean"), events)
    assert read_aggregates(habit("mean"), state, NOW_MS)["d"] == pytest.approx((10 - 5) / 2**0.5)
    assert read_aggregates(habit("mean"), fold(habit("mean"), events[1:]), NOW_MS) == {}


def test_an_interest_loses_half_in_every_half_life() -> None:
    sport = prepare([], [Concept("sport", (Signal("view", 3.0),), "10d")])
    state = fold(sport, [make_event("e1", "view", NOW_MS)])
    read = [read_interests(sport, state, NOW_MS + days * DAY_MS)["sport"] for days in (0, 10, 20, 5)]
    assert read == pytest.approx([3.0, 1.5, 0.75, 3 / 2**0.5], rel=1e-6)
    assert read_interests(sport, state, NOW_MS + 10**14)["sport"] == 0.0
    assert read_interests(sport, state, 0)["sport"] <= 6.0


def test_interests_are_ranked_and_those_that_nothing_tells_of_are_left_out() -> None:
    assert ranked({"a": 1.0, "b": 2.0, "c": 0.0, "d": 2.0}) == [("b", 2.0), ("d", 2.0), ("a", 1.0)]
