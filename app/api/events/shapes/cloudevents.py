"""CloudEvents 1.0, as structured JSON."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from app.api.events.shapes.flat import flat_properties, without_nulls

FIELDS: Mapping[str, str] = {
    "event_id": "id",
    "customer_id": "subject",
    "type": "type",
    "occurred_at": "time",
    "properties": "data",
}
"""Under which name a CloudEvent has what an event needs."""
MAX_ID_CHARS = 128


def from_cloudevent(event: Mapping[str, Any]) -> dict[str, Any]:
    """Make an event of a CloudEvent. The customer is its ``subject``.

    Ids are unique within a ``source``, so both are the event's id: as they are, or if that is too long, their hash.
    """
    data = event.get("data")
    return without_nulls(
        event_id=_event_id(event.get("source"), event.get("id")),
        customer_id=event.get("subject"),
        type=event.get("type"),
        occurred_at=event.get("time"),
        # Anything else than an object is kept, to be refused: an event must not lose what it tells.
        properties=flat_properties(data) if isinstance(data, Mapping) else data,
    )


def _event_id(source: Any, own_id: Any) -> Any:
    if not isinstance(own_id, str) or not own_id:
        return own_id
    whole = f"{source or ''} {own_id}".strip()
    return (
        whole
        if len(whole) <= MAX_ID_CHARS
        else blake2b(whole.encode(errors="replace"), digest_size=32).hexdigest()
    )
