"""The entries of a stream that are about a customer, and the form in which they are shown. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic_core import from_json

from decisioning.events.store_inbox import FIELD
from decisioning.model.position import StreamPosition
from profiles.customer_id import normal_customer_id

_JSON = (b"h", b"f", b"pr", FIELD)
_PACKED: Mapping[bytes, str] = {b"c": "<u4", b"bp": "<f4", b"cv": "<f8"}
"""Fields of a ``decided`` entry that hold packed numbers."""


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """An entry of a bucket's stream, as it stands there."""

    position: StreamPosition
    fields: Mapping[bytes, bytes]

    @property
    def decision_id(self) -> str:
        """The decision that it is about."""
        return self.fields.get(b"id", b"").decode(errors="replace")


def is_decision_for(fields: Mapping[bytes, bytes], customer_id: str) -> bool:
    """Return whether an entry records a decision for a customer, also one whose header cannot be read here."""
    header = fields.get(b"h", b"")
    if fields.get(b"t") != b"decided" or not _may_name(header, customer_id):
        return False
    try:
        found: Any = from_json(header)
        return bool(found["customer_id"] == customer_id)
    except (ValueError, KeyError, TypeError):
        return json.dumps(customer_id, ensure_ascii=False).encode() in header


def is_event_of(fields: Mapping[bytes, bytes], customer_id: str) -> bool:
    """Return whether an entry is an event of a customer."""
    return fields.get(b"t") == b"event" and fields.get(b"cu") == customer_id.encode()


def customer_in_inbox(fields: Mapping[bytes, bytes]) -> str | None:
    """Return whose an event is as other systems put it into the inbox; ``None`` if nobody can tell.

    The id is in its one form, and may be written as a number there.
    """
    try:
        event: Any = from_json(fields[FIELD])
        named = event["customer_id"]
        if isinstance(named, str | int) and not isinstance(named, bool):
            return normal_customer_id(str(named))
    except (ValueError, KeyError, TypeError):
        pass
    return None


def pick_entries(entries: Iterable[StreamEntry], customer_id: str, ids: set[str]) -> list[StreamEntry]:
    """Pick out the entries about a customer: decisions, their outcomes, and events, in their order.

    ``ids``: the decisions of the customer that are known; those that are found are added. A decision stands before its
    outcomes.
    """
    found = []
    for entry in entries:
        if is_decision_for(entry.fields, customer_id):
            ids.add(entry.decision_id)
            found.append(entry)
        elif is_event_of(entry.fields, customer_id) or (
            entry.fields.get(b"t") not in (b"decided", b"event") and entry.decision_id in ids
        ):
            found.append(entry)
    return found


def show_entry(entry: StreamEntry) -> dict[str, Any]:
    """Return an entry as plain JSON, whatever it holds: what cannot be read is shown as text."""
    return {"position": str(entry.position)} | {
        name.decode(errors="backslashreplace"): _shown(name, value) for name, value in entry.fields.items()
    }


def _shown(name: bytes, value: bytes) -> Any:
    try:
        if name in _JSON and value:
            return from_json(value)
        if name in _PACKED:
            return plain_numbers(np.frombuffer(value, _PACKED[name]).tolist())
    except ValueError:
        pass
    return value.decode(errors="backslashreplace")


def plain_numbers(numbers: Iterable[float]) -> list[float | None]:
    """Return numbers as JSON has them: ``None`` for those that are none."""
    return [number if number == number else None for number in numbers]


def _may_name(header: bytes, customer_id: str) -> bool:
    """Return whether it is worth reading a header: most ids stand in it as they are."""
    plain = customer_id.isascii() and customer_id.isprintable() and not {'"', "\\", "/"} & {*customer_id}
    return not plain or customer_id.encode() in header
