"""Editors check catalogue files by a schema that is made of the bodies of the API."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.catalog_schema import document_schema
from decisioning.catalog.kinds import KINDS
from decisioning.catalog.yaml_document import to_yaml
from decisioning.catalog.yaml_values import parse
from tests.support.rich_things import RICH_THINGS

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = [
    (page.name, block)
    for page in sorted(DOCS.glob("*.md"))
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    if re.search(r"^nextbest: 1$", block, re.MULTILINE)
]


def wrong_in(document: str) -> list[str]:
    """The paths at which a document does not meet the schema."""
    values = json.loads(json.dumps(parse(document)[0], default=str))
    validator = jsonschema_rs.validator_for(document_schema())
    return ["/".join(map(str, error.instance_path)) for error in validator.iter_errors(values)]


def test_there_are_examples_of_it() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize(("page", "document"), EXAMPLES)
def test_all_examples_of_the_documentation_meet_the_schema(page: str, document: str) -> None:
    assert wrong_in(document) == [], page


def test_what_is_exported_meets_the_schema() -> None:
    entries: list[Any] = []
    for kind, (path, sent) in RICH_THINGS.items():
        name = "rich/call" if kind == "treatment" else path.rpartition("/")[2]
        body = {k: v for k, v in sent.items() if k not in ("starts_at", "ends_at")}
        entries.append((kind, name, KINDS[kind].normalise(name, body)))
    assert wrong_in(to_yaml(entries)) == []


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ("groups: {}", ""),
        ("nextbest: 1\ngroup: {}", ""),
        ("nextbest: 1\ngroups: {cards: {name: Cards}}", "groups/cards"),
        ("nextbest: 1\ngroups: {cards: {name: Cards, gaol: grow, goal: grow}}", "groups/cards"),
        ("nextbest: 1\ngroups: {ca rds: {name: Cards, goal: grow}}", "groups"),
        ("nextbest: 1\noffers: {gold: {name: G, group: c, value: much}}", "offers/gold/value"),
        # What is only read in answers is nothing to write.
        ("nextbest: 1\noffers: {gold: {name: G, group: c, number: 3}}", "offers/gold"),
        (
            "nextbest: 1\noffers: {gold: {name: G, group: c, treatments: {w: {title: T}}}}",
            "offers/gold/treatments/w",
        ),
    ],
)
def test_what_is_wrong_is_found_by_editors(document: str, path: str) -> None:
    assert path in wrong_in(document)
