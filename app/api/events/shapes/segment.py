"""Segment's calls: track, page, screen, identify, and the rest."""

from collections.abc import Mapping
from typing import Any

from app.api.events.shapes.flat import first_of, flat_properties, type_of_name, without_nulls

FIELDS: Mapping[str, str] = {
    "event_id": "messageId",
    "customer_id": "userId",
    "type": "event",
    "occurred_at": "timestamp",
    "properties": "properties",
}
"""Under which name a call has what an event needs."""
_NAMED = ("page", "screen")
_OF_TRAITS = ("identify", "group")


def from_segment(call: Mapping[str, Any]) -> dict[str, Any]:
    """Make an event of a call.

    Of ``track`` the type is the name of the event, of every other call the name of the call. The customer is
    ``userId``, or without one ``anonymousId``.
    """
    kind = call.get("type", "track")
    name = call.get("event") if kind == "track" else kind
    found = call.get("traits" if kind in _OF_TRAITS else "properties")
    properties = flat_properties(found) if isinstance(found, Mapping) else {}
    if kind in _NAMED:
        properties = without_nulls(name=call.get("name"), category=call.get("category")) | properties
    return without_nulls(
        event_id=call.get("messageId"),
        customer_id=first_of(call, "userId", "anonymousId"),
        type=type_of_name(name) if isinstance(name, str) else name,
        occurred_at=first_of(call, "timestamp", "originalTimestamp", "sentAt"),
        properties=properties,
    )
