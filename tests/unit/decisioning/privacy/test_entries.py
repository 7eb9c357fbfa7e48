"""Entries of a stream that are about a customer."""

import pytest

from decisioning.model.position import StreamPosition
from decisioning.privacy.entries import (
    StreamEntry,
    customer_in_inbox,
    is_decision_for,
    pick_entries,
    show_entry,
)


def entry(at: int, **fields: str | bytes) -> StreamEntry:
    encoded = {name.encode(): v.encode() if isinstance(v, str) else v for name, v in fields.items()}
    return StreamEntry(StreamPosition(f"{at}-0"), encoded)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('{"customer_id":"1","limit":1}', True),
        ('{"customer_id":"11"}', False),
        ('{"customer_id":1}', False),
        ('{"other":"1"}', True),
        ('[1, "1"', True),  # nobody can tell what it is, and it names the customer
        ("[11", False),
        ("11", False),
    ],
)
def test_a_decision_for_a_customer(header: str, found: bool) -> None:
    assert is_decision_for({b"t": b"decided", b"h": header.encode()}, "1") is found


@pytest.mark.parametrize("header", ['{"customer_id":"\\u00e9/\\""}', '{"customer_id":"é\\/\\""}'])
def test_an_id_may_be_written_in_several_ways(header: str) -> None:
    assert is_decision_for({b"t": b"decided", b"h": header.encode()}, 'é/"')


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ('{"customer_id": "me"}', "me"),
        ('{"customer_id": " me\u00a0"}', "me"),
        ('{"customer_id": "e\u0301"}', "\u00e9"),
        ('{"customer_id": 1025}', "1025"),
        ('{"customer_id": true}', None),
        ('{"customer_id": ""}', None),
        ('{"customer": "me"}', None),
        ('["me"]', None),
        ('{"customer_id": "me"', None),
    ],
)
def test_an_event_of_the_inbox_says_whose_it_is_or_nobody_can_tell(event: str, named: str | None) -> None:
    assert customer_in_inbox({b"event": event.encode()}) == named


def test_an_entry_of_the_inbox_without_an_event_is_nobody_s() -> None:
    assert customer_in_inbox({b"other": b"{}"}) is None


def test_outcomes_follow_their_decisions() -> None:
    ids = {"known"}
    entries = [
        entry(1, t="outcome", id="known"),
        entry(2, t="outcome", id="one"),  # before its decision: of an earlier one, maybe of somebody else
        entry(3, t="decided", id="one", h='{"customer_id":"me"}'),
        entry(4, t="decided", id="other", h='{"customer_id":"you"}'),
        entry(5, t="outcome", id="one"),
        entry(6, t="expired", id="other"),
        entry(7, t="start"),
        entry(8, t="event", id="one", cu="you"),
        entry(9, t="event", id="e", cu="me"),
    ]
    assert [found.position.at_ms for found in pick_entries(entries, "me", ids)] == [1, 3, 5, 9]
    assert ids == {"known", "one"}


def test_an_entry_is_shown_as_plain_json() -> None:
    shown = show_entry(
        entry(1, t="decided", h='{"a": 1}', c=b"\x03\0\0\0", bp=b"\0\0\xc0\x7f", f="{", odd=b"\xff")
    )
    assert shown == {
        "position": "1-0",
        "t": "decided",
        "h": {"a": 1},
        "c": [3],
        "bp": [None],
        "f": "{",
        "odd": "\\xff",
    }
