"""What rules may say of events."""

from typing import Any

import pytest

from decisioning.aggregates.vocabulary import derived_attributes, property_attributes
from profiles.events.declared import Aggregate, Concept
from profiles.events.event_type import EventType
from rules.vocabulary import Attribute


def properties(schema: dict[str, Any]) -> dict[str, Attribute]:
    """The properties of a type with the schema of one property, ``p``."""
    return property_attributes(EventType("call", "Call", {"properties": {"p": schema}}))


@pytest.mark.parametrize(
    ("schema", "type_", "values"),
    [
        ({"type": "string"}, "string", ()),
        ({"type": ["string", "null"]}, "string", ()),
        ({"type": "string", "format": "date-time"}, "timestamp", ()),
        ({"type": "number", "minimum": 0}, "number", ()),
        ({"type": ["integer", "number"]}, "number", ()),
        ({"type": "integer", "enum": [1, 2]}, "int", (1, 2)),
        ({"type": "boolean"}, "bool", ()),
        ({"enum": ["bill", "fault", None]}, "string", ("bill", "fault")),
        ({"enum": [1, 2.5]}, "number", (1, 2.5)),
        ({"const": True}, "bool", ()),
        ({"type": "array", "items": {"type": "string"}}, "list", ()),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "list", ("a", "b")),
    ],
)
def test_the_type_of_a_property_is_that_of_its_schema(
    schema: dict[str, Any], type_: str, values: tuple[object, ...]
) -> None:
    assert properties(schema) == {"p": Attribute("event.p", type_, values=values)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": ["string", "number"]},
        {"enum": ["a", 1]},
        {"enum": [["a"]]},
        {"type": "array"},
        {"type": "array", "items": {"type": "number"}},
        {"anyOf": [{"type": "string"}]},
    ],
)
def test_a_property_whose_type_is_not_said_cannot_be_referred_to(schema: Any) -> None:
    assert properties(schema) == {}


def test_nor_can_one_with_a_name_that_the_language_does_not_know() -> None:
    schema = {"properties": {name: {"type": "string"} for name in ("page-url", "in", "a.b", "1st", "ok")}}
    assert list(property_attributes(EventType("view", "View", schema))) == ["ok"]


def test_aggregates_and_concepts_have_the_types_of_what_they_tell() -> None:
    view = EventType("view", "View", {"properties": {"path": {"enum": ["/a", "/b"]}}})
    aggregates = (
        Aggregate("n", "view", "count", window="7d", description="Views"),
        Aggregate("path", "view", "last", property="path"),
        Aggregate("age", "view", "recency", unit="hours", name="Age"),
        Aggregate("more", "view", "deviation", window="7d"),
        Aggregate("lost", "view", "last", property="gone"),
        Aggregate("in", "view", "count", window="7d"),
    )
    found = derived_attributes(
        {a.aggregate_id: a for a in aggregates}, {"sport": Concept("sport")}, {"view": view}
    )
    assert list(found) == [
        Attribute("events.n", "int", "Views"),
        Attribute("events.path", "string", values=("/a", "/b")),
        Attribute("events.age", "number", "Age", unit="hours"),
        Attribute("events.more", "number"),
        Attribute("interests.sport", "number"),
    ]
