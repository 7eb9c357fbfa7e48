"""Snowplow's enriched events as JSON, as its analytics SDKs write them, or with self-describing JSON left as it is."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.api.events.shapes.flat import first_of, flat_properties, type_of_name, without_nulls

FIELDS: Mapping[str, str] = {
    "event_id": "event_id",
    "customer_id": "user_id",
    "type": "event_name",
    "occurred_at": "derived_tstamp",
    "properties": "properties",
}
"""Under which name an enriched event has what an event needs."""
_PAGE = {"page_url": "url", "page_urlpath": "path", "page_title": "title", "page_referrer": "referrer"}
_STRUCTURED = {f"se_{name}": name for name in ("category", "action", "label", "property", "value")}
_WITHOUT_ZONE = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+")
_VERSION = re.compile(r"_\d+(_\d+)*$")


def from_snowplow(event: Mapping[str, Any]) -> dict[str, Any]:
    """Make an event of an enriched one.

    The customer is ``user_id``, or without one ``domain_userid``. Properties are those of the page and of structured
    events, the fields of the self-describing event, and those of each entity in its contexts (the first of a kind),
    behind the name of the entity.
    """
    at = first_of(event, "derived_tstamp", "collector_tstamp")
    name = first_of(event, "event_name", "event")
    return without_nulls(
        event_id=event.get("event_id"),
        customer_id=first_of(event, "user_id", "domain_userid"),
        type=type_of_name(name) if isinstance(name, str) else name,
        # All times of Snowplow are UTC, whether they say so or not.
        occurred_at=f"{at}Z" if isinstance(at, str) and _WITHOUT_ZONE.fullmatch(at) else at,
        properties=flat_properties(dict(_properties(event))),
    )


def _properties(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for theirs, ours in (_PAGE | _STRUCTURED).items():
        if event.get(theirs) is not None:
            yield ours, event[theirs]
    for name, value in event.items():
        if name == "unstruct_event" and isinstance(value, Mapping):
            yield from _fields(_unwrapped(_unwrapped(value)))
        elif name.startswith("unstruct_event_"):
            yield from _fields(value)
        elif name == "contexts" and isinstance(value, Mapping):
            yield from _entities(_unwrapped(value))
        elif name.startswith("contexts_") and isinstance(value, list) and value:
            yield _VERSION.sub("", name.removeprefix("contexts_")), value[0]


def _entities(entities: Any) -> Iterator[tuple[str, Any]]:
    """Yield the data of each self-describing entity by its name, the first of each."""
    seen: set[str] = set()
    for entity in entities if isinstance(entities, list) else []:
        name = _schema_name(entity)
        if name and name not in seen:
            seen.add(name)
            yield name, entity.get("data")


def _schema_name(entity: Any) -> str:
    """Return the name in ``iglu:<vendor>/<name>/jsonschema/<version>``."""
    schema = entity.get("schema") if isinstance(entity, Mapping) else None
    parts = schema.split("/") if isinstance(schema, str) else []
    return parts[1] if len(parts) == 4 else ""


def _unwrapped(value: Any) -> Any:
    """Return the data of self-describing JSON; other values as they are."""
    return value["data"] if isinstance(value, Mapping) and {"schema", "data"} <= value.keys() else value


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
