"""Laws of what events tell: no order or repetition matters, and what is read agrees with plain lists of events."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from profiles.events.declared import Aggregate, Concept, Measure, Signal
from profiles.events.definitions import MAX_CASES, MAX_CONTACTS, PERIOD_TILES, prepare, window_of
from profiles.events.event import Event
from profiles.events.fold import State, apply, fold, increments_of
from profiles.events.merging import merge
from profiles.events.reading import MAX_DEVIATION, read_aggregates, read_interests
from storage.clock import to_iso
from tests.support.events import DAY_MS, DEFINITIONS, NOW_MS, make_event

AGES = (
    st.integers(0, 120 * DAY_MS)
    | st.integers(0, 120).map(lambda days: days * DAY_MS)
    | st.integers(0, 7200_000)
)
NUMBERS = st.floats(-1e9, 1e9) | st.integers(-100, 100)
PROPERTIES = st.fixed_dictionaries(
    {}, optional={"minutes": NUMBERS, "reason": st.sampled_from(("bill", "fault"))}
)


@st.composite
def histories(draw: st.DrawFn, numbers: st.SearchStrategy[float] = NUMBERS) -> list[Event]:
    """Events of one customer, with ids of their own."""
    drawn = draw(st.lists(st.tuples(st.sampled_from(("call", "view")), AGES, PROPERTIES), max_size=25))
    return [
        make_event(f"e{i}", type_, NOW_MS - age, properties)
        for i, (type_, age, properties) in enumerate(drawn)
    ]


def folded(events: Sequence[Event]) -> State:
    """Fold events one by one, as a store does that knows which it has had."""
    state: State = {}
    known: set[str] = set()
    for event in events:
        if event.event_id not in known:
            known.add(event.event_id)
            state = apply(state, increments_of(DEFINITIONS, event), event.event_id)
    return state


def millionths(event: Event) -> int:
    """The minutes of a call."""
    minutes = event.properties["minutes"]
    assert isinstance(minutes, int | float)
    return round(minutes * 1e6)


@given(histories(), st.data())
def test_order_batches_and_repetitions_do_not_matter(events: list[Event], data: st.DataObject) -> None:
    repeated = data.draw(
        st.permutations([*events, *data.draw(st.lists(st.sampled_from(events)) if events else st.just([]))])
    )
    assert folded(repeated) == folded(events) == fold(DEFINITIONS, repeated)


WINDOWS = st.sampled_from(
    (("1h", None), ("7d", None), ("24h", "7m"), ("90d", "11d"), ("61s", None), ("30m", "30m"))
)


@given(histories(), WINDOWS, st.integers(0, 100 * DAY_MS))
def test_a_window_counts_all_events_in_it_and_older_ones_by_less_than_a_tile(
    events: list[Event], window: tuple[str, str | None], later_ms: int
) -> None:
    n = Aggregate("count", "call", "count", window=window[0], tile=window[1])
    s = replace(n, aggregate_id="sum", function="sum", property="minutes")
    definitions, now_ms = prepare([n, s]), NOW_MS + later_ms
    read = read_aggregates(definitions, fold(definitions, events), now_ms)
    length, tile = window_of(n).length_ms, window_of(n).tile_ms
    calls = [event for event in events if event.type == "call"]
    within = sum(event.at_ms > now_ms - length for event in calls)
    at_most = sum(event.at_ms > now_ms - length - tile for event in calls)
    assert within <= float(read["count"]) <= at_most
    begins_ms = (now_ms - length) // tile * tile
    amounts = [millionths(e) for e in calls if e.at_ms >= begins_ms and "minutes" in e.properties]
    assert read["sum"] == sum(amounts) / 1e6


MANY_CALLS = st.lists(st.tuples(st.integers(0, 45), st.integers(-100, 100)), min_size=8, max_size=25).map(
    lambda told: [
        make_event(f"e{i}", "call", NOW_MS - days * DAY_MS, {"minutes": n})
        for i, (days, n) in enumerate(told)
    ]
)
"""Enough calls within a few periods for most of these to have several."""


@pytest.mark.parametrize("of", ["count", "sum", "mean"])
@given(events=histories() | MANY_CALLS, later_ms=st.integers(0, 20 * DAY_MS))
def test_a_deviation_agrees_with_a_plain_list_of_events(
    events: list[Event], of: Measure, later_ms: int
) -> None:
    habit = Aggregate(
        "d", "call", "deviation", property="minutes", of=of, window="7d", periods=5, min_periods=2
    )
    definitions, now_ms = prepare([habit]), NOW_MS + later_ms
    read = read_aggregates(definitions, fold(definitions, events), now_ms).get("d")
    tile = window_of(habit).tile_ms
    calls = [e for e in events if e.type == "call" and (of == "count" or "minutes" in e.properties)]
    period_ms, ends_ms = PERIOD_TILES * tile, (now_ms // tile + 1) * tile
    first_ms = min((e.at_ms for e in calls), default=ends_ms) // tile * tile
    values: list[Fraction | None] = []
    for period in range(6):
        until_ms, from_ms = ends_ms - period * period_ms, ends_ms - (period + 1) * period_ms
        if period and from_ms < first_ms:
            break
        inside = [e for e in calls if from_ms <= e.at_ms < until_ms]
        total = Fraction(len(inside) if of == "count" else sum(map(millionths, inside)))
        values.append(total if of != "mean" else total / len(inside) if inside else None)
    current, earlier = values[0], [value for value in values[1:] if value is not None]
    if current is None or len(earlier) < 2:
        assert read is None
    elif len(set(earlier)) == 1:
        assert read == (0.0 if current == earlier[0] else math.copysign(MAX_DEVIATION, current - earlier[0]))
    else:
        plain = float(current - statistics.mean(earlier)) / statistics.stdev(earlier)
        cut = max(-MAX_DEVIATION, min(MAX_DEVIATION, plain))
        assert read is not None
        assert math.isclose(float(read), cut, rel_tol=1e-9, abs_tol=1e-9)


@given(
    histories(),
    st.sampled_from(("10s", "1h", "1d", "30d")),
    st.floats(1e-3, 1000),
    st.integers(0, 400 * DAY_MS),
)
def test_interests_decay_exactly_but_for_the_stated_bound(
    events: list[Event], half_life: str, weight: float, later_ms: int
) -> None:
    concept = Concept("c", (Signal("call", weight), Signal("view", 1.0)), half_life)
    definitions, now_ms = prepare([], [concept]), NOW_MS + later_ms
    score = read_interests(definitions, fold(definitions, events), now_ms)["c"]
    half_life_ms = {"10s": 10_000, "1h": 3_600_000, "1d": DAY_MS, "30d": 30 * DAY_MS}[half_life]
    weights = [weight if event.type == "call" else 1.0 for event in events]
    exact = sum(w * 2.0 ** ((e.at_ms - now_ms) / half_life_ms) for w, e in zip(weights, events, strict=True))
    bound = exact * 1e-6 + len(events) * 2e-6 + sum(weights) * 2.0**-15
    assert 0.0 <= score <= exact + bound
    assert math.isclose(score, exact, abs_tol=bound)


@given(histories(), st.integers(0, 10**14))
def test_no_interest_is_ever_negative_or_no_number(events: list[Event], now_ms: int) -> None:
    scores = read_interests(DEFINITIONS, fold(DEFINITIONS, events), now_ms).values()
    assert all(math.isfinite(score) and score >= 0 for score in scores)


CASE = Aggregate("cases", "opened", "open", key="case", closed_by="closed")
LATE = replace(CASE, aggregate_id="late", function="overdue", due="due")
RECENT = replace(CASE, aggregate_id="recent", window="30d")


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 45), st.integers(0, 60), st.integers(-30, 30)), max_size=120
    ),
    st.randoms(use_true_random=False),
)
def test_open_and_overdue_cases_are_those_of_a_plain_list(
    told: list[tuple[bool, int, int, int]], random: Random
) -> None:
    definitions = prepare([CASE, LATE, RECENT])
    events = [
        make_event(
            f"e{n}",
            "closed" if closes else "opened",
            NOW_MS - age * DAY_MS,
            {"case": f"case {case}", "due": to_iso(NOW_MS + due * DAY_MS)},
        )
        for n, (closes, case, age, due) in enumerate(told)
    ]
    newest: dict[object, tuple[int, bool, str, Event]] = {}
    for event in events:
        at = (event.at_ms, event.type == "closed", event.event_id, event)
        newest[event.properties["case"]] = max(
            newest.get(event.properties["case"], at), at, key=lambda a: a[:3]
        )
    if len(newest) > MAX_CASES:  # of those of the same time another one may be dropped
        ages = sorted((at[:2] for at in newest.values()), reverse=True)
        assume(ages[MAX_CASES] < ages[MAX_CASES - 1])
        newest = {case: at for case, at in newest.items() if at[:2] >= ages[MAX_CASES - 1]}
    is_open = [at[3] for at in newest.values() if not at[1]]
    random.shuffle(events)
    found = read_aggregates(definitions, fold(definitions, events), NOW_MS)
    assert found["cases"] == len(is_open)
    assert found["late"] == sum(str(event.properties["due"]) <= to_iso(NOW_MS) for event in is_open)
    assert found["recent"] == sum(event.at_ms > NOW_MS - 30 * DAY_MS for event in is_open)


CONTACTS = Aggregate("most", "contact", "count", key="case", closed_by="closed", window="30d")
NEVER_CLOSED = replace(CONTACTS, aggregate_id="seen", closed_by=None)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 45), st.integers(0, 4)), max_size=150),
    st.randoms(use_true_random=False),
)
def test_contacts_about_one_case_are_those_of_a_plain_list_in_any_order_and_in_parts(
    told: list[tuple[int, int, int]], random: Random
) -> None:
    definitions = prepare([CONTACTS, NEVER_CLOSED])
    events = [
        make_event(f"e{n}", "contact" if what else "closed", NOW_MS - age * DAY_MS - n, {"case": f"c{case}"})
        for n, (what, age, case) in enumerate(told)
    ]
    events.append(make_event("other", "contact", NOW_MS))  # is about no case
    about = sorted(
        (e for e in events if "case" in e.properties), key=lambda e: (e.at_ms, e.type != "contact")
    )
    expected = {"most": 0, "seen": 0}
    for name, kept in (
        ("most", about[-MAX_CONTACTS:]),
        ("seen", [e for e in about if e.type == "contact"][-MAX_CONTACTS:]),
    ):
        is_open = {e.properties["case"]: e.type == "contact" for e in kept}
        for case in (case for case, one in is_open.items() if one):
            counted = [e for e in kept if e.type == "contact" and e.at_ms > NOW_MS - 30 * DAY_MS]
            expected[name] = max(expected[name], sum(e.properties["case"] == case for e in counted))
    random.shuffle(events)
    state = fold(definitions, events)
    assert read_aggregates(definitions, state, NOW_MS) == expected
    at = random.randint(0, len(events))
    assert merge(definitions, fold(definitions, events[:at]), fold(definitions, events[at:])) == state
