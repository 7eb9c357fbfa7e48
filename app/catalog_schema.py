"""The JSON Schema of a catalogue file, made of the bodies that the API takes, for editors to complete and check it."""

from functools import cache
from typing import Any

from app.api.schemas import Body
from app.catalog_check import body_schema
from decisioning.catalog.kind import Kind
from decisioning.catalog.kinds import KINDS, top_level_kinds
from decisioning.catalog.yaml_document import FORMAT

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def document_schema() -> dict[str, Any]:
    """Return the schema of a document. Things are by id in their sections; treatments stand in their offers."""
    definitions: dict[str, Any] = {}
    sections: dict[str, Any] = {"nextbest": {"const": FORMAT, "description": "the format of the file"}}
    for kind in top_level_kinds():
        if kind.in_files:
            sections[kind.section] = _section(kind, definitions)
    return {
        "$schema": DIALECT,
        "title": "nextbest catalogue",
        "type": "object",
        "required": ["nextbest"],
        "properties": sections,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _section(kind: Kind[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a section, and add to the definitions what it refers to."""
    schema = body_schema(kind.name)
    thing = _thing(schema.body, definitions)
    for child in (other for other in KINDS.values() if other.parent == kind.name):
        thing["properties"][child.section] = _section(child, definitions)
    definitions[kind.name] = thing
    return {
        "type": "object",
        "description": thing.get("description", ""),
        "propertyNames": schema.ids.json_schema(),
        "additionalProperties": {"$ref": f"#/$defs/{kind.name}"},
    }


def _thing(body: type[Body], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body without what is only read."""
    found: dict[str, Any] = body.model_json_schema(ref_template="#/$defs/{model}")
    definitions |= found.pop("$defs", {})
    for name in body.echoes():
        del found["properties"][name]
    return found
