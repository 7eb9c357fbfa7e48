"""Preparing what is declared: fields, windows, and the bound on what is kept of a customer."""

from dataclasses import replace

import msgspec
import pytest

from profiles.events.declared import Aggregate, Concept, Signal, duration_ms
from profiles.events.definitions import (
    CONCEPT_TILES,
    NO_DEFINITIONS,
    contributions_of,
    field_name,
    max_state_bytes,
    prepare,
    selected,
    window_of,
)
from profiles.events.fold import apply, fold, increments_of
from profiles.events.reading import read_aggregates
from tests.support.events import AGGREGATES, CONCEPTS, DAY_MS, NOW_MS, make_event

CALLS = Aggregate("calls", "call", "count", window="7d")


@pytest.mark.parametrize(
    ("text", "ms"), [("30s", 30_000), ("30m", 1_800_000), ("24h", DAY_MS), ("7d", 7 * DAY_MS)]
)
def test_lengths_of_time_are_read(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-1d", "1.5h", "7 d", "1w", "7D", "12345678s"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        duration_ms(text)


def test_a_window_has_sixty_tiles_unless_it_says_otherwise() -> None:
    assert window_of(CALLS).tile_ms == 7 * DAY_MS // 60
    assert window_of(CALLS).keep == 61
    assert window_of(replace(CALLS, tile="1h")).keep == 7 * 24 + 1
    assert window_of(replace(CALLS, tile="5d")).keep == 3


def test_a_changed_definition_begins_anew_and_one_that_is_described_anew_does_not() -> None:
    name = field_name(CALLS, "n")
    assert field_name(replace(CALLS, name="Calls", description="of the week"), "n") == name
    others = [
        field_name(replace(CALLS, **change), "n")  # type: ignore[arg-type]
        for change in (
            {"aggregate_id": "calls2"},
            {"event": "visit"},
            {"window": "8d"},
            {"tile": "1h"},
            {"where": "event.reason == 'bill'"},
            {"function": "deviation"},
        )
    ]
    assert len({name, field_name(CALLS, "s"), *others}) == 8


def test_a_concept_begins_anew_with_other_signals_but_not_in_another_order() -> None:
    concept = Concept("sport", (Signal("view"), Signal("order", 3.0)), "30d")
    name = field_name(concept, "w")
    assert field_name(replace(concept, signals=concept.signals[::-1], name="Sport"), "w") == name
    assert field_name(replace(concept, half_life="60d"), "w") != name
    assert field_name(replace(concept, signals=(Signal("view"),)), "w") != name


def test_definitions_are_found_by_the_type_of_events() -> None:
    found = prepare(AGGREGATES, CONCEPTS)
    assert set(found.contributions) == {"call", "view"}
    assert found.conditions == {"call": ("event.reason == 'bill'",), "view": ()}
    assert len(found.contributions["view"]) == 2


def test_what_is_read_can_be_a_selection() -> None:
    found = prepare(AGGREGATES, CONCEPTS)
    some = selected(found, {"calls_7d", "last_reason", "since_view", "more_calls", "unknown"}, {"reading"})
    assert [name for name, *_ in (*some.counts, *some.last, *some.recency, *some.habits, *some.concepts)] == [
        "calls_7d", "last_reason", "since_view", "more_calls", "reading",
    ]  # fmt: skip
    assert (some.sums, some.means, some.defaults) == ((), (), {"calls_7d": 0})
    assert selected(found, {"unknown"}, set()) is NO_DEFINITIONS
    state = fold(found, [make_event("e1", "call", NOW_MS, {"reason": "bill"})])
    everything = read_aggregates(found, state, NOW_MS)
    assert read_aggregates(some, state, NOW_MS) == {k: everything[k] for k in ("calls_7d", "last_reason")}


@pytest.mark.parametrize("thing", [*AGGREGATES, *CONCEPTS])
def test_what_is_kept_of_a_customer_stays_within_its_bound(thing: Aggregate | Concept) -> None:
    alone = prepare([thing]) if isinstance(thing, Aggregate) else prepare([], [thing])
    every = {c.where for _, c in contributions_of(thing) if c.where}
    alone = replace(alone, matcher=lambda event, conditions: every)
    state: dict[str, list[object]] = {}
    step = max([c.tile_ms for _, c in contributions_of(thing)] or [1])
    for i in range(500):
        properties = {"reason": "\x01" * 300, "minutes": 987_654_321.123456}
        for type_ in ("call", "view"):
            event_id = f"{type_}{i}".ljust(128, "x")
            event = make_event(event_id, type_, NOW_MS + i * step, properties)
            state = apply(state, increments_of(alone, event), event_id)
    assert len(msgspec.msgpack.encode(state)) <= max_state_bytes(thing) + 1


def test_interests_are_kept_for_sixteen_half_lives() -> None:
    (_, contribution), *_ = contributions_of(CONCEPTS[0])
    assert (contribution.keep, contribution.tile_ms) == (CONCEPT_TILES, 7 * DAY_MS)
