"""Conditions on events, compiled: what they say of an event, and that they are compiled once."""

from typing import Any

import pytest

from decisioning.aggregates.matching import compile_definitions
from decisioning.errors import Invalid
from profiles.events.declared import Aggregate, Concept, Signal
from profiles.events.event_type import EventType
from profiles.events.fold import fold, increments_of
from profiles.events.reading import read_aggregates, read_interests
from rules.expression import Checker
from tests.support.events import NOW_MS, make_event

CALL = EventType(
    "call",
    "Call",
    {
        "properties": {
            "reason": {"enum": ["bill", "fault"]},
            "minutes": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "path": {"type": "string"},
        }
    },
)
TYPES = {"call": CALL}


def met(where: str, properties: dict[str, Any]) -> bool:
    """Whether an event meets a condition."""
    aggregate = Aggregate("n", "call", "count", where=where, window="7d")
    definitions = compile_definitions({"n": aggregate}, {}, TYPES)
    return bool(increments_of(definitions, make_event("e1", "call", NOW_MS, properties)))


@pytest.mark.parametrize(
    ("where", "properties", "expected"),
    [
        ("event.reason == 'bill'", {"reason": "bill"}, True),
        ("event.reason == 'bill'", {"reason": "fault"}, False),
        ("event.reason == 'bill'", {}, False),
        ("!has(event.reason)", {}, True),
        ("event.reason != 'bill' || event.minutes > 5.0", {"reason": "bill", "minutes": 6}, True),
        ("event.minutes > 5.0", {"minutes": "6"}, False),
        ("'vip' in event.tags", {"tags": ["vip"]}, True),
        ("event.path.startsWith('/Málaga')", {"path": "/Málaga/x"}, True),
        ("event.path.matches('^/a[0-9]+$')", {"path": "/a17"}, True),
    ],
)
def test_an_event_counts_if_it_meets_the_condition(
    where: str, properties: dict[str, Any], expected: bool
) -> None:
    assert met(where, properties) is expected


def test_aggregates_and_concepts_are_folded_and_read_by_their_conditions() -> None:
    aggregates = {
        "bills": Aggregate("bills", "call", "count", where="event.reason == 'bill'", window="7d"),
        "calls": Aggregate("calls", "call", "count", window="7d"),
    }
    concepts = {"money": Concept("money", (Signal("call", 4.0, "event.reason == 'bill'"),), "1d")}
    definitions = compile_definitions(aggregates, concepts, TYPES)
    state = fold(
        definitions,
        [
            make_event("e1", "call", NOW_MS, {"reason": "bill"}),
            make_event("e2", "call", NOW_MS, {"reason": "fault"}),
            make_event("e3", "visit", NOW_MS, {"reason": "bill"}),
        ],
    )
    assert read_aggregates(definitions, state, NOW_MS) == {"bills": 1, "calls": 2}
    assert read_interests(definitions, state, NOW_MS) == pytest.approx({"money": 4.0}, rel=1e-6)


def test_nothing_is_compiled_again_for_the_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    definitions = compile_definitions(
        {"n": Aggregate("n", "call", "count", where="event.reason == 'bill'", window="7d")}, {}, TYPES
    )
    event = make_event("e1", "call", NOW_MS, {"reason": "bill"})
    first = increments_of(definitions, event)

    def refuse(*arguments: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(Checker, "check", refuse)
    monkeypatch.setattr("rules.expression.cel.compile", refuse)
    assert increments_of(definitions, event) == first != ()


def test_what_may_keep_too_much_of_a_customer_is_refused() -> None:
    aggregates = {f"n{i}": Aggregate(f"n{i}", "call", "count", window="7d") for i in range(80)}
    with pytest.raises(Invalid, match="65,536 are the most") as caught:
        compile_definitions(aggregates, {}, TYPES)
    assert caught.value.field == "aggregates"
    compile_definitions(dict(list(aggregates.items())[:50]), {}, TYPES)
