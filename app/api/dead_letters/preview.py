"""What may be shown of a record that was set aside: what it is, and the size of its parts. No value of them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from decisioning.events.store_inbox import FIELD
from decisioning.log.store_dead_letters import INBOX, DeadLetter
from decisioning.privacy.entries import customer_in_inbox

MAX_PARTS = 12
MAX_CHARS = 128

_DECIDED = "decided"


@dataclass(frozen=True, slots=True)
class Preview:
    """A record as it tells of itself, as far as it can be read; ``parts``: the first names in it, with their bytes."""

    kind: str | None
    record_id: str | None
    customer_id: str | None
    parts: list[tuple[str, int]]


def preview_of(letter: DeadLetter) -> Preview:
    """Describe a record without quoting it."""
    fields = letter.fields
    parts = [(_text(name) or "", len(value)) for name, value in _first(fields.items())]
    if letter.bucket == INBOX:
        event = _object(fields.get(FIELD, b""))
        return Preview(
            _bounded(event.get("type")),
            _bounded(event.get("event_id")),
            _bounded(customer_in_inbox(fields)),
            parts,
        )
    kind = _text(fields.get(b"t"))
    customer_id = _text(fields.get(b"cu"))
    if kind == _DECIDED:
        customer_id = _bounded(_object(fields.get(b"h", b"")).get("customer_id"))
    return Preview(kind, _text(fields.get(b"id")), customer_id, parts)


def size_of(letter: DeadLetter) -> int:
    """Return how many bytes a record has."""
    return sum(len(name) + len(value) for name, value in letter.fields.items())


def _first(pairs: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return list(pairs)[:MAX_PARTS]


def _object(value: bytes) -> dict[str, Any]:
    try:
        found = from_json(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: bytes | None) -> str | None:
    return None if value is None else _bounded(value.decode(errors="backslashreplace"))


def _bounded(value: object) -> str | None:
    return value[:MAX_CHARS] if isinstance(value, str) else None
