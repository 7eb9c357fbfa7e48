"""Types of events: what is declared of them, and how the properties of an event are checked against it.

The properties of an event are flat, whatever its type says: scalars and lists of scalars, bounded in number and size.
What a type says of them is a JSON Schema, which refers to nothing outside of itself and whose patterns take time in
proportion to the text.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import jsonschema_rs
from pydantic_core import to_json

MAX_PROPERTIES = 100
MAX_NAME_CHARS = 64
MAX_TEXT_CHARS = 1_000
MAX_ITEMS = 100
MAX_NUMBER = 1e9
"""Millionths of such numbers are whole numbers below 2 ** 53, and so are the sums of nine."""
MAX_SCHEMA_BYTES = 16_384
_MASK = "it"
"""Stands for the value in what the validator says: reasons are logged, and values may be personal."""
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20)

Problem = tuple[str, str]
"""The path of what is wrong, "" for the whole, and the reason."""


@dataclass(frozen=True, slots=True)
class EventContact:
    """Events of a type are contacts that another system made: in a channel, with an offer, a group, or neither."""

    channel: str
    group: str | None = None
    offer: str | None = None


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of events.

    ``json_schema``: of the properties. ``personal``: those that are personal data. ``retention_days``: how long the
    archive keeps events of this type, ``None`` for as long as it keeps the rest.
    """

    type_id: str
    name: str
    json_schema: dict[str, Any] = field(default_factory=dict)
    contact: EventContact | None = None
    personal: tuple[str, ...] = ()
    retention_days: int | None = None
    description: str = ""


def schema_problem(schema: Mapping[str, Any]) -> Problem | None:
    """Say what is wrong with the JSON Schema of a type; ``None`` if nothing is."""
    if schema.get("type", "object") != "object":
        return "type", "properties are an object: leave it out, or write object"
    size = len(to_json(schema))
    if size > MAX_SCHEMA_BYTES:
        return "", f"has {size:,} bytes of at most {MAX_SCHEMA_BYTES:,}"
    try:
        _validator(schema)
    except ValueError as error:
        path = [str(part) for part in getattr(error, "instance_path", ())]
        reason = getattr(error, "message", str(error))
        return ".".join(path), f"is not a JSON Schema that can be used here: {_own_words(reason)}"
    return None


def declared_properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schemas of the properties that a schema names."""
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def personal_problems(event_type: EventType) -> Iterator[Problem]:
    """Yield what is wrong with the names of personal properties: those that the schema does not have."""
    declared = declared_properties(event_type.json_schema)
    for place, name in enumerate(event_type.personal):
        if name not in declared:
            near = get_close_matches(name, declared, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "declare it in the properties of json_schema"
            yield f"{place}", f"{name!r} is no property of this type; {hint}"


class PropertyCheck:
    """Checks properties of one type; made once for each type, since its schema is compiled."""

    def __init__(self, event_type: EventType) -> None:
        self._validator = _validator(event_type.json_schema)
        self._declared = declared_properties(event_type.json_schema)

    def problem(self, properties: Mapping[str, Any]) -> Problem | None:
        """Say what is wrong with properties (without nulls, see ``known_properties``); ``None`` if nothing is."""
        found = shape_problem(properties)
        if found is not None or self._validator.is_valid(properties):
            return found
        error = next(self._validator.iter_errors(properties))
        path = ".".join(str(part) for part in error.instance_path)
        return path, _own_words(error.message) + self._hint(properties, path)

    def _hint(self, properties: Mapping[str, Any], path: str) -> str:
        """Name the declared property that an unknown one may have been meant to be."""
        unknown = [] if path else [name for name in properties if name not in self._declared]
        for name in unknown:
            near = get_close_matches(name, self._declared, n=1)
            if near:
                return f"; did you mean {near[0]!r}?"
        return ""


def known_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out properties that are null: they are not known."""
    return {name: value for name, value in properties.items() if value is not None}


def shape_problem(properties: Mapping[str, Any]) -> Problem | None:
    """Say what is wrong with properties whatever their type says; ``None`` if nothing is."""
    if len(properties) > MAX_PROPERTIES:
        return "", f"are {len(properties)}; at most {MAX_PROPERTIES} are taken"
    for name, value in properties.items():
        reason = _name_fault(name) or _value_fault(value)
        if reason:
            return name[:MAX_NAME_CHARS], reason
    return None


def _name_fault(name: str) -> str | None:
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
        return f"names of properties have 1 to {MAX_NAME_CHARS} printable characters"
    return None


def _value_fault(value: Any) -> str | None:
    if isinstance(value, list):
        if len(value) > MAX_ITEMS:
            return f"has {len(value)} items; at most {MAX_ITEMS} are taken"
        return next((fault for fault in map(_scalar_fault, value) if fault), None)
    return _scalar_fault(value)


def _scalar_fault(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _text_fault(value)
    if not isinstance(value, int | float):
        return (
            "must be a text, a number, true or false, or a list of these: send what is nested as properties"
        )
    if not math.isfinite(value) or abs(value) > MAX_NUMBER:
        return f"must lie between -{MAX_NUMBER:,.0f} and {MAX_NUMBER:,.0f}: send ids and times as texts"
    return None


def _text_fault(text: str) -> str | None:
    if len(text) > MAX_TEXT_CHARS:
        return f"has {len(text)} characters; at most {MAX_TEXT_CHARS} are taken"
    if "\x00" in text:
        return "must not contain NUL characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain half of a surrogate pair"
    return None


def _validator(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Compile a schema. Raises ``ValueError``."""
    # Offline: a schema comes from whoever edits the catalogue, and must not make servers fetch anything.
    return jsonschema_rs.validator_for(  # type: ignore[return-value]  # all drafts' validators are alike
        dict(schema), mask=_MASK, offline=True, pattern_options=_PATTERNS, validate_formats=True
    )


def _own_words(message: str) -> str:
    """Return a reason of the validator as a sentence about the field that is named before it."""
    return message.removeprefix(f"{_MASK} ").partition("\n")[0]
