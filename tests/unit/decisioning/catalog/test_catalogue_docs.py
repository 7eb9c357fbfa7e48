"""docs/catalogue.md says what the code does."""

import re
from pathlib import Path

import pytest

from app.catalog_check import check_entry
from app.commands.catalog import app
from decisioning.catalog.catalogue import build_catalogue
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import KINDS, top_level_kinds
from decisioning.catalog.yaml_document import from_yaml, to_yaml
from decisioning.errors import InvalidRule
from decisioning.model.entities import NEXT_STATUS
from rules.vocabulary import BUILT_IN

PAGE = (Path(__file__).parents[4] / "docs" / "catalogue.md").read_text(encoding="utf-8")


def examples() -> list[Entry]:
    """The entries of all examples."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    return [entry for block in blocks for entry in from_yaml(block, check_entry)]


def test_the_examples_are_one_catalogue() -> None:
    entries = examples()
    numbers = {name: n for n, (kind, name, _) in enumerate(entries, 1) if kind == "offer"}
    catalogue = build_catalogue(1, entries, numbers)
    assert catalogue.view("desk").lever.tolist() == [1.3]
    assert [o.offer_id for o in catalogue.view("home").offers] == ["gold", "silver"]
    assert from_yaml(to_yaml(entries)) == sorted(entries, key=_place)


def _place(entry: Entry) -> tuple[int, str, int]:
    kind, name, _ = entry
    sections = [found.name for found in top_level_kinds()]
    offer_id = name.partition("/")[0]
    return sections.index("offer" if kind == "treatment" else kind), offer_id, kind == "treatment"


def test_the_mistake_is_told_like_that() -> None:
    entries: list[Entry] = [
        (kind, name, {"when": "customer.incom > 4000.0"} if kind == "segment" else body)
        for kind, name, body in examples()
    ]
    numbers = {name: n for n, (kind, name, _) in enumerate(entries, 1) if kind == "offer"}
    with pytest.raises(InvalidRule) as caught:
        build_catalogue(1, entries, numbers)
    error = caught.value
    place = f'"field": "{error.field}", "line": {error.line}, "column": {error.column}'
    assert f'{{{place}, "suggestion": "{error.suggestion}"}}' in PAGE


def test_what_must_not_be_lost() -> None:
    told: dict[str, list[tuple[str, str]]] = {}
    for kinds, words in re.findall(r"^\| ([a-z, ]+) \| (`\w+`[:;|].*?) \|$", PAGE, re.MULTILINE):
        found = []
        for part in words.split("; "):
            word, *named = re.findall(r"`(\w+)`", part)
            found += [(name, word) for name in named or [word]]
        told |= dict.fromkeys((kind.replace(" ", "_") for kind in kinds.split(", ")), found)
    known = {kind.section: [(p.shown, p.word) for p in kind.protective] for kind in KINDS.values()}
    assert told == {section: protective for section, protective in known.items() if protective}


def test_statuses() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (.*?)\|$", PAGE, re.MULTILINE)
    told = {status: frozenset(re.findall(r"`(\w+)`", then)) for status, then in rows if status in NEXT_STATUS}
    assert told == NEXT_STATUS


def test_sections_and_built_in_attributes_are_named() -> None:
    for kind in top_level_kinds():
        assert not kind.in_files or f"`{kind.section}`" in PAGE
    for attribute in BUILT_IN:
        assert f"`{attribute.path}`" in PAGE.replace("\n", " ")


def test_the_commands_exist() -> None:
    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {*re.findall(r"^nextbest catalog (\w+)", PAGE, re.MULTILINE)} == names
