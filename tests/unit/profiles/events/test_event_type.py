"""Types of events: their schemas, and what is said of properties that do not fit."""

from typing import Any

import pytest

from profiles.events.event_type import (
    MAX_PROPERTIES,
    MAX_TEXT_CHARS,
    EventType,
    PropertyCheck,
    known_properties,
    personal_problems,
    schema_problem,
)

CALL = EventType(
    "call",
    "Call",
    {
        "properties": {
            "reason": {"enum": ["bill", "cancel"]},
            "minutes": {"type": "number", "minimum": 0},
            "topics": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["reason"],
        "additionalProperties": False,
    },
)
CHECK = PropertyCheck(CALL)
ANYTHING = PropertyCheck(EventType("any", "Any"))


@pytest.mark.parametrize(
    "properties",
    [{"reason": "bill"}, {"reason": "cancel", "minutes": 3}, {"reason": "bill", "topics": ["a", "b"]}],
)
def test_properties_that_fit_are_taken(properties: dict[str, Any]) -> None:
    assert CHECK.problem(properties) is None


@pytest.mark.parametrize(
    ("properties", "path", "said"),
    [
        ({}, "", "required"),
        ({"reason": "weather"}, "reason", "not one of"),
        ({"reason": "bill", "minutes": -1}, "minutes", "minimum"),
        ({"reason": "bill", "minutes": "3"}, "minutes", "number"),
        ({"reason": "bill", "minuets": 3}, "", "did you mean 'minutes'?"),
        ({"reason": "bill", "topics": [1]}, "topics.0", "string"),
    ],
)
def test_what_does_not_fit_is_named_with_the_reason(properties: dict[str, Any], path: str, said: str) -> None:
    problem = CHECK.problem(properties)
    assert problem is not None
    assert problem[0] == path
    assert said in problem[1]


def test_a_reason_does_not_show_the_value() -> None:
    check = PropertyCheck(EventType("a", "A", {"properties": {"mail": {"type": "string", "pattern": "@"}}}))
    problem = check.problem({"mail": "Ann Canary"})
    assert problem is not None
    assert "Canary" not in problem[1]


@pytest.mark.parametrize(
    ("properties", "path", "said"),
    [
        ({"a": {"b": 1}}, "a", "nested"),
        ({"a": [[1]]}, "a", "nested"),
        ({"a": 1e9 + 1}, "a", "as texts"),
        ({"a": [float("nan")]}, "a", "must lie between"),
        ({"a": "x" * (MAX_TEXT_CHARS + 1)}, "a", "characters"),
        ({"a": "\x00"}, "a", "NUL"),
        ({"a": "\ud800"}, "a", "surrogate"),
        ({"": 1}, "", "names of properties"),
        ({"a" * 65: 1}, "a" * 64, "names of properties"),
        ({"a": list(range(101))}, "a", "items"),
        ({str(n): n for n in range(MAX_PROPERTIES + 1)}, "", "at most"),
    ],
)
def test_properties_are_flat_and_bounded_whatever_the_schema_says(
    properties: dict[str, Any], path: str, said: str
) -> None:
    problem = ANYTHING.problem(properties)
    assert problem is not None
    assert problem[0] == path
    assert said in problem[1]


def test_what_is_null_is_not_known() -> None:
    assert known_properties({"reason": "bill", "minutes": None}) == {"reason": "bill"}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "array"}, "type"),
        ({"properties": {"a": {"type": "text"}}}, "properties.a.type"),
        ({"properties": {"a": {"pattern": "("}}}, "properties.a.pattern"),
        ({"properties": {"a": {"pattern": "(?=a)b"}}}, "properties.a.pattern"),
        ({"properties": {"a": {"$ref": "https://example.com/schema"}}}, ""),
        ({"$ref": "file:///etc/hosts"}, ""),
        ({"description": "x" * 17_000}, ""),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: dict[str, Any], path: str) -> None:
    problem = schema_problem(schema)
    assert problem is not None
    assert problem[0] == path


def test_a_schema_that_can_be_used_is_taken() -> None:
    assert schema_problem(CALL.json_schema) is None
    assert schema_problem({}) is None


def test_personal_properties_are_declared() -> None:
    found = list(
        personal_problems(EventType("call", "Call", CALL.json_schema, personal=("reason", "minuts")))
    )
    assert found == [("1", "'minuts' is no property of this type; did you mean 'minutes'?")]
