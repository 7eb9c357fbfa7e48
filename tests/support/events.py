"""Definitions and events for tests of what events tell."""

from collections.abc import Collection, Mapping
from typing import Any

from profiles.events.declared import Aggregate, Concept, Signal
from profiles.events.definitions import EventDefinitions, prepare
from profiles.events.event import Event

DAY_MS = 86_400_000
NOW_MS = 1_777_593_600_000
"""The 1st of May 2026."""

BILL = "event.reason == 'bill'"
AGGREGATES = (
    Aggregate("calls_7d", "call", "count", window="7d"),
    Aggregate("bill_calls", "call", "count", where=BILL, window="7d"),
    Aggregate("talked_1h", "call", "sum", property="minutes", window="1h", tile="5m"),
    Aggregate("talk_length", "call", "mean", property="minutes", window="30d"),
    Aggregate("last_reason", "call", "last", property="reason", window="90d"),
    Aggregate("last_minutes", "call", "last", property="minutes"),
    Aggregate("since_call", "call", "recency"),
    Aggregate("since_view", "view", "recency", unit="hours"),
    Aggregate("more_calls", "call", "deviation", window="7d", periods=6, min_periods=3),
    Aggregate("more_talk", "call", "deviation", property="minutes", of="sum", window="1d", periods=4),
    Aggregate("longer_talk", "call", "deviation", property="minutes", of="mean", window="1d", periods=4, min_periods=2),
)  # fmt: skip
CASES = (
    Aggregate("open_cases", "call", "open", key="reason", closed_by="view"),
    Aggregate("late_cases", "call", "overdue", key="reason", closed_by="view", due="due", window="30d"),
    Aggregate("one_case", "call", "count", key="reason", closed_by="view", window="60d"),
)
CONCEPTS = (
    Concept("service", (Signal("call", 2.0), Signal("call", 0.5, BILL)), "7d"),
    Concept("reading", (Signal("view"),), "12h"),
    Concept("nothing", (), "1d"),
)


def match_reason(event: Event, conditions: Collection[str]) -> Collection[str]:
    """The condition of these definitions, without the language of rules."""
    return [c for c in conditions if c == BILL and event.properties.get("reason") == "bill"]


DEFINITIONS: EventDefinitions = prepare(AGGREGATES, CONCEPTS, match_reason)
WITH_CASES: EventDefinitions = prepare((*AGGREGATES, *CASES), CONCEPTS, match_reason)


def call(event_id: str, at_ms: int, **properties: Any) -> Event:
    """A call of a customer."""
    return make_event(event_id, "call", at_ms, properties)


def make_event(event_id: str, type_: str, at_ms: int, properties: Mapping[str, Any] | None = None) -> Event:
    """An event of the customer c1."""
    return Event(event_id, "c1", type_, at_ms, properties or {})
