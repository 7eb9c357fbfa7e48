"""The names that rules may use of events: of the properties of one, and of what all events of a customer told."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from profiles.events.declared import Aggregate, Concept
from profiles.events.event_type import EventType, declared_properties
from rules.expression import Checker
from rules.vocabulary import Attribute, AttributeType, Value, Vocabulary, is_name

_TYPES: Mapping[str, AttributeType] = {
    "string": "string",
    "number": "number",
    "integer": "int",
    "boolean": "bool",
}
"""The types of attributes by those of JSON Schema."""


def property_attributes(event_type: EventType) -> dict[str, Attribute]:
    """Return the properties of a type of events that rules can refer to, as attributes below ``event``, by name.

    Left out are those whose type the schema does not say, and those with names that the language does not know.
    """
    found = {}
    for name, schema in declared_properties(event_type.json_schema).items():
        type_ = _type_of(schema) if isinstance(schema, Mapping) else None
        if type_ is not None and is_name(name):
            found[name] = Attribute(f"event.{name}", type_, values=_values_of(schema, type_))
    return found


def _type_of(schema: Mapping[str, Any]) -> AttributeType | None:
    """Return the type of what a schema allows; ``None`` if it does not say, or allows several."""
    if schema.get("format") == "date-time":
        return "timestamp"
    stated = schema.get("type")
    types = {stated} if isinstance(stated, str) else set(stated or ())
    if types == {"array"}:
        items = schema.get("items")
        return "list" if isinstance(items, Mapping) and _type_of(items) == "string" else None
    if not types:
        types = {_json_type(value) for value in _enumerated(schema)}
    types -= {"null"}
    if types == {"integer", "number"}:
        return "number"
    return _TYPES.get(types.pop()) if len(types) == 1 else None


def _enumerated(schema: Mapping[str, Any]) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    return list(found) if isinstance(found, list | tuple) else []


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) else "number"
    return "string" if isinstance(value, str) else "object"


def _values_of(schema: Mapping[str, Any], type_: AttributeType) -> tuple[Value, ...]:
    items = schema.get("items")
    listed = _enumerated(items if type_ == "list" and isinstance(items, Mapping) else schema)
    wanted = (str,) if type_ in ("string", "list") else (int, float) if type_ in ("int", "number") else ()
    values = [value for value in listed if value is not None]
    fit = all(isinstance(value, wanted) and not isinstance(value, bool) for value in values)
    return tuple(values) if fit and type_ in ("string", "list", "int", "number") else ()


@lru_cache(maxsize=256)
def checker_of(attributes: tuple[Attribute, ...]) -> Checker:
    """Return the checker of conditions on events with these properties. It remembers what it has checked."""
    return Checker(Vocabulary.of_event(attributes))


def derived_attributes(
    aggregates: Mapping[str, Aggregate], concepts: Mapping[str, Concept], event_types: Mapping[str, EventType]
) -> Iterator[Attribute]:
    """Yield what aggregates and concepts are in rules: ``events.<aggregate>`` and ``interests.<concept>``.

    Left out are those that rules could not name, which are mistakes.
    """
    for aggregate in aggregates.values():
        if not is_name(aggregate.aggregate_id):
            continue
        path, text = f"events.{aggregate.aggregate_id}", aggregate.description or aggregate.name
        match aggregate.function:
            case "count" | "open" | "overdue":
                yield Attribute(path, "int", text)
            case "last":
                event_type = event_types.get(aggregate.event)
                properties = {} if event_type is None else property_attributes(event_type)
                known = properties.get(aggregate.property or "")
                if known is not None:
                    yield Attribute(path, known.type, text, values=known.values)
            case "recency":
                yield Attribute(path, "number", text, unit=aggregate.unit)
            case _:
                yield Attribute(path, "number", text)
    for concept in filter(lambda concept: is_name(concept.concept_id), concepts.values()):
        yield Attribute(f"interests.{concept.concept_id}", "number", concept.description or concept.name)
