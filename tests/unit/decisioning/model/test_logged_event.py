"""Events in the log: what is written is what is read."""

from decisioning.log.codec import parse_entry
from decisioning.log.store_stream import Batch, ParsedEntries, lessons_of
from decisioning.model.logged_event import LoggedEvent, properties_text
from decisioning.model.position import StreamPosition
from profiles.events.event import Event

AT = StreamPosition("7-0")
FIELDS = {
    b"t": b"event",
    b"id": "é, 1".encode(),
    b"cu": b"ann",
    b"k": b"call",
    b"at": b"5",
    b"ts": b"4",
    b"pr": b'{"reason":"bill","topics":["a"],"minutes":1.5}',
    b"cm": "0:::d:mail:event:é, 1\n0:::p:mail:event:é, 1".encode(),
}
CALL = LoggedEvent(
    3,
    AT,
    Event("é, 1", "ann", "call", 5, {"reason": "bill", "topics": ["a"], "minutes": 1.5}),
    4,
    ("0:::d:mail:event:é, 1", "0:::p:mail:event:é, 1"),
)


def test_an_entry_is_read_as_it_was_written() -> None:
    assert parse_entry(3, AT, FIELDS) == CALL
    assert properties_text(CALL.event.properties).encode() == FIELDS[b"pr"]
    assert (CALL.key, CALL.contact_ms) == (("ann", "é, 1"), 4)


def test_events_teach_nothing_and_only_who_reads_all_gets_them() -> None:
    assert lessons_of(CALL) == []
    for decisions, found in ((True, [CALL]), (False, [])):
        batch = Batch()
        batch.add(3, AT, FIELDS, decisions, ParsedEntries())
        assert (batch.events, batch.outcomes, batch.unread, len(batch)) == (found, [], [], len(found))
