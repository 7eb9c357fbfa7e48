"""Merging states is folding the events of all."""

from hypothesis import given
from hypothesis import strategies as st

from profiles.events.declared import Aggregate
from profiles.events.definitions import MAX_CASES, MAX_CONTACTS, prepare
from profiles.events.event import Event
from profiles.events.fold import fold, increments_of
from profiles.events.merging import merge, subtract
from profiles.events.reading import read_aggregates, read_interests
from tests.support.events import DAY_MS, NOW_MS, make_event
from tests.support.events import WITH_CASES as DEFINITIONS

TICKETS = prepare([Aggregate("tickets", "ticket", "open", key="case", closed_by="closed")])


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events of several who are one customer, each with an id of its own."""
    times = st.integers(0, 120 * DAY_MS) | st.integers(0, 120).map(lambda days: days * DAY_MS)
    properties = st.fixed_dictionaries(
        {}, optional={"minutes": st.floats(-1e9, 1e9), "reason": st.sampled_from(("bill", "fault", "é"))}
    )
    drawn = draw(
        st.lists(st.tuples(st.sampled_from(("call", "view", "other")), times, properties), max_size=15)
    )
    return [make_event(f"e{n}", kind, NOW_MS - age, told) for n, (kind, age, told) in enumerate(drawn)]


@given(histories(), st.data())
def test_states_of_parts_merge_into_the_state_of_all_in_any_order_and_bracketing(
    events: list[Event], data: st.DataObject
) -> None:
    whose = [data.draw(st.integers(0, 2)) for _ in events]
    parts = [
        fold(DEFINITIONS, [event for event, one in zip(events, whose, strict=True) if one == part])
        for part in data.draw(st.permutations(range(3)))
    ]
    whole = fold(DEFINITIONS, events)
    assert merge(DEFINITIONS, *parts) == whole
    assert merge(DEFINITIONS, parts[0], merge(DEFINITIONS, parts[1], parts[2])) == whole
    assert merge(DEFINITIONS, merge(DEFINITIONS, parts[0], parts[1]), parts[2]) == whole


@given(histories(), st.data())
def test_an_event_that_two_had_counts_once_when_it_is_subtracted(
    events: list[Event], data: st.DataObject
) -> None:
    both = [event for event in events if data.draw(st.booleans())]
    ours, theirs = fold(DEFINITIONS, events), fold(DEFINITIONS, both)
    for event in both:
        theirs = subtract(theirs, increments_of(DEFINITIONS, event))
    merged, whole = merge(DEFINITIONS, ours, theirs), fold(DEFINITIONS, events)
    assert read_aggregates(DEFINITIONS, merged, NOW_MS) == read_aggregates(DEFINITIONS, whole, NOW_MS)
    assert read_interests(DEFINITIONS, merged, NOW_MS) == read_interests(DEFINITIONS, whole, NOW_MS)


def test_fields_that_nobody_defines_any_more_stay() -> None:
    assert merge(DEFINITIONS, {"old": [1, 2]}, {"old": [9, 3]}) == {"old": [1, 2, 9, 3]}


def test_of_cases_those_are_kept_that_folding_all_events_keeps() -> None:
    events = [make_event(f"e{n}", "ticket", NOW_MS - n * 1000, {"case": n}) for n in range(2 * MAX_CASES)]
    whole = fold(TICKETS, events)
    for cut in (1, MAX_CASES - 1, MAX_CASES + 5):
        for parts in (events[:cut], events[cut:]), (events[::2], events[1::2]):
            merged = merge(TICKETS, *(fold(TICKETS, part) for part in parts))
            assert merged == whole
            assert read_aggregates(TICKETS, merged, NOW_MS)["tickets"] == MAX_CASES


def test_of_events_about_cases_those_are_kept_that_folding_all_events_keeps() -> None:
    definitions = prepare([Aggregate("most", "ticket", "count", key="case", window="1d")])
    events = [
        make_event(f"e{n}", "ticket", NOW_MS - n * 1000, {"case": n % 2 if n < 100 else 2})
        for n in range(300)
    ]
    whole = fold(definitions, events)
    assert len(whole) == MAX_CONTACTS
    for cut in (1, MAX_CONTACTS - 1, MAX_CONTACTS + 5, 200):
        for parts in (events[:cut], events[cut:]), (events[::2], events[1::2]):
            merged = merge(definitions, *(fold(definitions, part) for part in parts))
            assert merged == whole
            assert read_aggregates(definitions, merged, NOW_MS)["most"] == MAX_CONTACTS // 2
