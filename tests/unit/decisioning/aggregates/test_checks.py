"""Checks of aggregates and concepts: each mistake names its field and the way out."""

from dataclasses import replace
from typing import Any

import pytest

from decisioning.aggregates.checks import check_aggregate, check_concept
from decisioning.errors import InvalidRule, MissingThing
from profiles.events.declared import Aggregate, Concept, Signal
from profiles.events.event_type import EventType

CALL = EventType(
    "call",
    "Call",
    {
        "properties": {
            "reason": {"enum": ["bill", "fault"]},
            "minutes": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
        }
    },
)
CASE = {
    "properties": {
        "case": {"type": "string"},
        "due": {"type": "string", "format": "date-time"},
        "size": {"type": "number"},
    }
}
OPENED, CLOSED = EventType("opened", "Opened", CASE), EventType("closed", "Closed", CASE)
THINGS: dict[str, dict[str, Any]] = {"event_types": {"call": CALL, "opened": OPENED, "closed": CLOSED}}
OPEN = Aggregate("n", "opened", "open", key="case", closed_by="closed")
LATE = replace(OPEN, function="overdue", due="due")
COUNT = Aggregate("n", "call", "count", window="7d")
CONTACTS = Aggregate("n", "opened", "count", key="case", window="90d")
VERSUS = replace(CONTACTS, function="deviation", against="all", closed_by="closed")


@pytest.mark.parametrize(
    "aggregate",
    [
        COUNT,
        replace(COUNT, where="event.reason == 'bill' && event.minutes > 2.0", tile="1h"),
        Aggregate("n", "call", "sum", property="minutes", window="1m"),
        Aggregate("n", "call", "mean", property="minutes", window="1100d"),
        Aggregate("n", "call", "last", property="reason"),
        Aggregate("n", "call", "last", property="minutes", window="30m"),
        Aggregate("n", "call", "recency", unit="seconds"),
        Aggregate("n", "call", "deviation", window="30d", periods=12, min_periods=2),
        Aggregate("n", "call", "deviation", property="minutes", of="mean", window="30d"),
        Aggregate("n", "call", "deviation", window="30d", against="all", tile="1d"),
        OPEN,
        replace(LATE, window="90d", where="event.size > 1.0"),
        CONTACTS,
        replace(CONTACTS, closed_by="closed", where="event.size > 1.0"),
        VERSUS,
    ],
)
def test_what_can_be_answered_is_taken(aggregate: Aggregate) -> None:
    assert list(check_aggregate(aggregate, THINGS)) == []


@pytest.mark.parametrize(
    ("aggregate", "field", "words"),
    [
        (replace(COUNT, event="cal"), "event", "there is no event 'cal'; create it with PUT /v1/event-types/cal"),
        (replace(COUNT, aggregate_id="in"), "aggregate_id", "cannot be named in a rule"),
        (replace(COUNT, aggregate_id="a-b"), "aggregate_id", "cannot be named in a rule"),
        (replace(COUNT, window=None), "window", "is missing: how far back it looks, such as 7d"),
        (replace(COUNT, window="59s"), "window", "59s is not between 1m and 1100d"),
        (replace(COUNT, window="1101d"), "window", "is not between"),
        (replace(COUNT, window="soon"), "window", "must be a length of time such as 30m"),
        (replace(COUNT, tile="8d"), "tile", "8d is not between 1s and the window of 7d"),
        (replace(COUNT, tile="1s"), "tile", "7d has more than 400 tiles of 1s: write 1512s, or more"),
        (replace(COUNT, tile="x"), "tile", "must be a length of time"),
        (replace(COUNT, property="minutes"), "property", "means nothing to count"),
        (replace(COUNT, periods=5), "periods", "means something to deviation alone"),
        (replace(COUNT, of="sum"), "of", "means something to deviation alone"),
        (replace(COUNT, unit="hours"), "unit", "means something to recency alone"),
        (replace(COUNT, function="sum"), "property", "is missing: what sum is made of"),
        (replace(COUNT, function="sum", property="minuets"), "property", "did you mean 'minutes'?"),
        (replace(COUNT, function="sum", property="zebra"), "property", "declare it, with its type"),
        (replace(COUNT, function="sum", property="reason"), "property", "'reason' is a string: sum needs a number"),
        (replace(COUNT, function="last", property="tags"), "property", "'tags' is a list: last needs a single value"),
        (replace(COUNT, against="all"), "against", "means something to deviation alone"),
        (replace(COUNT, function="deviation", against="all", periods=5), "periods", "where all customers are compared"),
        (Aggregate("n", "call", "recency", key="reason"), "key", "means something to open and overdue and count"),
        (replace(COUNT, closed_by="closed"), "closed_by", "means something with a key alone"),
        (replace(CONTACTS, key="cas"), "key", "did you mean 'case'?"),
        (replace(CONTACTS, key="size"), "key", "must be a text or a whole number"),
        (replace(CONTACTS, closed_by="call"), "key", "'call' have no property 'case'"),
        (replace(CONTACTS, closed_by="close"), "closed_by", "there is no event 'close'"),
        (replace(CONTACTS, tile="1h"), "tile", "means nothing with a key"),
        (replace(CONTACTS, window=None), "window", "is missing"),
        (replace(VERSUS, against="self"), "key", "write against: all"),
        (replace(VERSUS, of="sum", property="size"), "of", "it is events that are counted"),
        (replace(OPEN, due="due"), "due", "means something to overdue alone"),
        (replace(OPEN, key=None), "key", "is missing: a property of events of type 'opened'"),
        (replace(OPEN, key="cas"), "key", "did you mean 'case'?"),
        (replace(OPEN, key="size"), "key", "must be a text or a whole number"),
        (replace(OPEN, closed_by=None), "closed_by", "is missing: the type of events that close a case"),
        (replace(OPEN, closed_by="close"), "closed_by", "there is no event 'close'"),
        (replace(OPEN, closed_by="opened"), "closed_by", "events of another one close them"),
        (replace(OPEN, closed_by="call"), "key", "'call' have no property 'case'"),
        (replace(OPEN, property="case"), "property", "means nothing to open"),
        (replace(OPEN, tile="1h"), "tile", "means nothing to open"),
        (replace(LATE, due=None), "due", "is missing: a property"),
        (replace(LATE, due="case"), "due", "must be a time (format date-time)"),
        (replace(COUNT, function="recency"), "window", "means nothing to recency"),
        (replace(COUNT, function="last", property="reason", tile="1h"), "tile", "means nothing to last"),
        (replace(COUNT, function="deviation", window=None), "window", "is missing: the length of a period"),
        (replace(COUNT, function="deviation", min_periods=7), "min_periods", "there are only 6 periods"),
        (replace(COUNT, function="deviation", of="sum"), "property", "is missing: what deviation is made of"),
        (replace(COUNT, where="event.reason == 'bil'"), "where", "did you mean 'bill'?"),
        (replace(COUNT, where="event.raeson == 'bill'"), "where", "event.reason == 'bill'"),
        (replace(COUNT, where="reason == 'bill'"), "where", "write event.reason == 'bill'"),
        (replace(COUNT, where="customer.age > 3"), "where", "there is no attribute 'customer.age'"),
        (replace(COUNT, where="event.minutes"), "where", "a condition must be true or false"),
        (replace(COUNT, where="now > timestamp('2026-01-01T00:00:00Z')"), "where", "must not refer to now"),
        (replace(COUNT, where="event.reason.matches('(')"), "where", "is not a pattern"),
    ],
)  # fmt: skip
def test_what_cannot_is_refused(aggregate: Aggregate, field: str, words: str) -> None:
    (error,) = check_aggregate(aggregate, THINGS)
    assert error.field == field
    assert words in str(error)
    if field == "event":
        assert isinstance(error, MissingThing)
    assert isinstance(error, InvalidRule) == (field == "where" and "refer to now" not in words)


@pytest.mark.parametrize(
    ("concept", "field", "words"),
    [
        (Concept("in"), "concept_id", "cannot be named in a rule"),
        (Concept("a", half_life="1s"), "half_life", "1s is not between 1m and 1100d"),
        (Concept("a", (Signal("call"), Signal("cal"))), "signals.1.event", "there is no event 'cal'"),
        (Concept("a", (Signal("call", 1.0, "event.x > 1.0"),)), "signals.0.where", "there is no attribute 'event.x'"),
    ],
)  # fmt: skip
def test_a_concept_is_checked_signal_by_signal(concept: Concept, field: str, words: str) -> None:
    (error,) = check_concept(concept, THINGS)
    assert (error.field, words in str(error)) == (field, True)
    assert list(check_concept(Concept("a", (Signal("call", 2.0, "event.reason == 'bill'"),)), THINGS)) == []
