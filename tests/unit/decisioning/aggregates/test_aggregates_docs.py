"""docs/aggregates.md says what the code does."""

import re
from pathlib import Path
from typing import get_args

import pytest

from app.catalog_check import check_entry
from decisioning.catalog.catalogue import Catalogue, build_catalogue
from decisioning.catalog.yaml_document import from_yaml
from profiles.events.declared import Aggregate, Concept, Function
from profiles.events.definitions import (
    MAX_CONTACTS,
    MAX_STATE_BYTES,
    MAX_WINDOW_TILES,
    WINDOW_TILES,
    max_state_bytes,
)
from profiles.events.population import PERCENTILE
from profiles.events.reading import MAX_DEVIATION, read_aggregates

PAGE = (Path(__file__).parents[4] / "docs" / "aggregates.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def catalogue_of(*documents: str) -> Catalogue:
    """The catalogue of some examples."""
    entries = {entry[:2]: entry for text in documents for entry in from_yaml(text, check_entry)}
    return build_catalogue(1, list(entries.values()), {})


def test_the_examples_are_catalogues() -> None:
    first, segments, against_all, cases, contacts, session = EXAMPLES
    whole = catalogue_of(first, segments)
    attributes = whole.checker.vocabulary.attributes
    assert {path for path in attributes if path.startswith("events.")} == {
        f"events.{id_}" for id_ in whole.aggregates
    }
    assert attributes["events.last_reason"].values == ("bill", "fault", "cancel")
    assert set(catalogue_of(against_all).aggregates) == {"complaints_vs_all"}
    assert set(catalogue_of(cases).aggregates) == {"open_cases", "open_complaints", "broken_promises"}
    assert set(catalogue_of(contacts).signals) == {"same-complaint"}
    assert set(catalogue_of(session).segments) == {"comparing_loans"}


def test_functions_and_what_they_are_without_events() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", PAGE, re.MULTILINE))
    assert list(rows) == list(get_args(Function))
    whole = catalogue_of(EXAMPLES[0], EXAMPLES[3])
    read = read_aggregates(whole.event_definitions, {}, 0)
    for name, aggregate in whole.aggregates.items():
        told = rows[aggregate.function]
        assert told.startswith("missing" if name not in read else f"`{read[name]}`")


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (Aggregate("a", "call", "count", window="7d"), "870 bytes"),
        (Aggregate("a", "call", "deviation", window="7d"), "2.5 KB"),
        (Aggregate("a", "call", "last", property="x"), "1.4 KB"),
        (Aggregate("a", "call", "open", key="x", closed_by="call"), "5.9 KB"),
        (Aggregate("a", "call", "count", key="x", window="7d"), "11.8 KB"),
        (Concept("a"), "240 bytes"),
    ],
)
def test_what_is_kept(thing: Aggregate | Concept, told: str) -> None:
    if isinstance(thing, Concept):
        thing = Concept("a", catalogue_of(EXAMPLES[0]).concepts["sport"].signals)
    size = max_state_bytes(thing)
    assert told == (f"{size} bytes" if size < 1000 else f"{size / 1000:.1f} KB")
    assert told in PAGE


def test_bounds() -> None:
    assert WINDOW_TILES == 60
    assert "a sixtieth of the window" in PAGE
    assert f"up to {MAX_WINDOW_TILES} tiles a window" in PAGE
    assert f"the {MAX_CONTACTS} events are kept" in PAGE
    assert f"never above {MAX_CONTACTS}" in PAGE
    assert f"above the {PERCENTILE}th percentile" in PAGE
    assert f"{MAX_STATE_BYTES:,} bytes" in PAGE
    assert f"cut to -{MAX_DEVIATION:.0f} and {MAX_DEVIATION:.0f}" in PAGE
