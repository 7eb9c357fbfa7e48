"""The catalogue as YAML: there and back again, and what is said about documents that are wrong."""

import contextlib
import re
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from decisioning.catalog.diff import changes_between, differences
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import KINDS
from decisioning.catalog.yaml_document import MAX_BYTES, DocumentError, from_yaml, to_yaml
from tests.support.catalogue_strategies import catalogues

SLOW = settings(max_examples=60, suppress_health_check=list(HealthCheck))


def by_name(entries: list[Entry]) -> dict[tuple[str, str], Any]:
    return {
        (kind, name): KINDS[kind].normalise(name, body) for kind, name, body in entries if body is not None
    }


@SLOW
@given(catalogues())
def test_reading_what_was_written_gives_the_same(entries: list[Entry]) -> None:
    document = to_yaml(entries)
    back = from_yaml(document)
    assert by_name(back) == by_name(entries)
    assert types(by_name(back)) == types(by_name(entries))
    assert to_yaml(back) == document
    assert changes_between(entries, back) == []
    assert differences(entries, back) == []


def types(value: Any) -> Any:
    """The same with types in place of values: 1, 1.0 and True are equal in Python, but not in a catalogue."""
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    return [types(item) for item in value] if isinstance(value, list) else type(value)


@given(st.text(max_size=200))
@example("nextbest: 1\noffers: {a: {}}")
@example("nextbest: 1\ngoals: {grow: {lever: .nan}}")
@example("nextbest: 1\noffers:\n  ? [a]\n  : b\n")
@example("nextbest: 1\noffers: {=: 3}")
@example("nextbest: 1\n<<: {groups: {}}")
def test_any_text_is_read_or_refused(text: str) -> None:
    for document in (text, f"nextbest: 1\n{text}", f"nextbest: 1\noffers:\n  {text}"):
        with contextlib.suppress(DocumentError):
            from_yaml(document)


GROUPS = "nextbest: 1\ngroups:\n  cards:\n    name: Cards\n    goal: grow\n"
OFFER = "nextbest: 1\noffers:\n  gold:\n    name: Gold\n    group: cards\n    value: 3\n"
WRONG = [
    # document, field, line, words
    ("", "nextbest", 1, "must begin with"),
    ("groups: {}", "nextbest", 1, "must begin with"),
    ("nextbest: 2", "nextbest", 1, "must begin with"),
    ("- a", "nextbest", 1, "must begin with"),
    ("nextbest: 1\ngroup: {}", "group", 2, "did you mean 'groups'?"),
    ("nextbest: 1\n\nzebras: {}", "zebras", 3, "there are attributes"),
    ("nextbest: 1\ngroups: [a]", "groups", 2, "must map ids"),
    ("nextbest: 1\ngroups:\n", "groups", 2, "must map ids"),
    ("nextbest: 1\ngroups:\n  cards: 3", "groups.cards", 3, "must map names to values"),
    (GROUPS.replace("grow", "shrink"), "groups.cards.goal", 5, "Input should be 'acquire'"),
    (GROUPS.replace("goal: grow", "gaol: grow"), "groups.cards.gaol", 5, "did you mean 'goal'?"),
    (GROUPS.replace("    goal: grow\n", ""), "groups.cards.goal", 3, "is needed"),
    (GROUPS + "  cards:\n    name: x\n", "groups.cards", 6, "'cards' is there twice"),
    (GROUPS + "    name: x\n", "groups.cards.name", 6, "'name' is there twice"),
    (GROUPS + "nextbest: 1\n", "nextbest", 6, "'nextbest' is there twice"),
    ("nextbest: 1\ngoals:\n  grow: {lever: high}", "goals.grow.lever", 3, "valid number"),
    ("nextbest: 1\ngoals:\n  grow: {lever: true}", "goals.grow.lever", 3, "valid number"),
    ("nextbest: 1\ngoals:\n  glow: {lever: 3}", "goals.glow.goal", 3, "'acquire', 'grow'"),
    ("nextbest: 1\ngoals:\n  grow: {lever: 1, x: 2}", "goals.grow.x", 3, "there is no 'x'"),
    (OFFER + "    starts_at: soon", "offers.gold.starts_at", 7, "must be a time such as"),
    (OFFER + "    starts_at: [1]", "offers.gold.starts_at", 7, "must be a time such as"),
    (OFFER + "    treatments: [1]", "offers.gold.treatments", 7, "must map ids"),
    (OFFER + "    treatments:\n      web: 3", "offers.gold.treatments.web", 8, "must map names"),
    (
        OFFER + "    treatments:\n      web:\n        chanel: web",
        "offers.gold.treatments.web.chanel",
        9,
        "did you mean 'channel'?",
    ),
    (
        OFFER + "    rules:\n    - name: a\n      tier: eligible\n      when: customer.known",
        "offers.gold.rules.0.tier",
        9,
        "Input should be 'eligibility'",
    ),
    (OFFER + "    number: 7", "offers.gold.number", 7, "there is no 'number'"),
    (OFFER.replace("value: 3", "value: three"), "offers.gold.value", 6, "valid number"),
    (GROUPS.replace("name: Cards", "name: [unclosed"), "document", 5, ""),
    (GROUPS.replace("    goal", "\tgoal"), "document", 5, "found"),
    (GROUPS.replace("Cards", "!!python/object:os.system {}"), "groups.cards.name", 4, "tags ("),
    (GROUPS.replace("Cards", "!!python/name:os.system"), "groups.cards.name", 4, "tags ("),
    (GROUPS.replace("Cards", "!!binary aGk="), "groups.cards.name", 4, "tags ("),
    (GROUPS.replace("Cards", "!!timestamp soon"), "groups.cards.name", 4, "tags ("),
    (GROUPS.replace("Cards", "2026-02-30"), "groups.cards.name", 4, "day is out of range"),
    (OFFER.replace("value: 3", "value: -.inf"), "offers.gold.value", 6, "a finite number; not -.inf"),
    (OFFER.replace("value: 3", "value: .nan"), "offers.gold.value", 6, "a finite number"),
    (OFFER.replace("value: 3", "value: 1.0e+999"), "offers.gold.value", 6, "a finite number; not 1.0e+999"),
    ("!!set {a, b}", "document", 1, "tags ("),
    ("nextbest: 1\nnull: {}", "document", 2, "names must be plain text"),
    ("nextbest: 1\n? [a]\n: {}", "document", 2, "names must be plain text"),
    ("nextbest: 1\n!!timestamp soon: {}", "document", 2, "tags ("),
    (GROUPS.replace("Cards", "&a Cards") + "  loans: {name: *a, goal: grow}", "document", 6, "aliases"),
    ("nextbest: 1\n--- \na: 1\n", "document", 2, "another document"),
    ("nextbest: 1\noffers: {1: {2: {}}}", "offers.1.2", 2, "there is no '2'"),
    ("nextbest: 1\noffers: {1.5: {}}", "offers", 2, "names must be plain text"),
    ("nextbest: 1\noffers: {null: {}}", "offers", 2, "names must be plain text"),
    (f"nextbest: 1\ngroups: {'[' * 40}{']' * 40}", "document", 2, "nested more than"),
]


@pytest.mark.parametrize(("document", "field", "line", "words"), WRONG)
def test_what_is_wrong_is_named_with_its_line(document: str, field: str, line: int, words: str) -> None:
    with pytest.raises(DocumentError) as caught:
        from_yaml(document)
    found = re.match(r"line (\d+): ", str(caught.value))
    assert found is not None, str(caught.value)
    assert words in str(caught.value)
    assert int(found[1]) == line
    assert caught.value.field.startswith(field)
    assert caught.value.field != ""


def test_aliases_cannot_blow_up() -> None:
    """The billion laughs: nine levels of nine aliases each."""
    lines = ["nextbest: 1", "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(DocumentError, match="line 3: aliases"):
        from_yaml("\n".join(lines))


def test_too_large_a_document() -> None:
    with pytest.raises(DocumentError, match="at most"):
        from_yaml("nextbest: 1\n#" + "x" * MAX_BYTES)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_too_deep_a_document(opening: str) -> None:
    with pytest.raises(DocumentError):
        from_yaml("nextbest: 1\ngroups: " + opening * 20_000)


def test_numbers_as_ids_are_text() -> None:
    assert by_name(from_yaml("nextbest: 1\ngroups: {1025: {name: a, goal: grow}}")) == {
        ("group", "1025"): {"name": "a", "goal": "grow"}
    }


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("2026-03-01", 1_772_323_200_000),
        ("2026-03-01T00:00:00Z", 1_772_323_200_000),
        ("'2026-03-01T00:00:00Z'", 1_772_323_200_000),
        ("2026-03-01 02:00:00+02:00", 1_772_323_200_000),
        ("2026-03-01T00:00:00.123Z", 1_772_323_200_123),
    ],
)
def test_times_as_people_write_them(written: str, stored: int) -> None:
    entry = from_yaml(f"{OFFER}    starts_at: {written}")[0]
    assert entry[2] is not None
    assert entry[2]["starts_ms"] == stored


def test_words_and_clock_times_are_text() -> None:
    """In YAML 1.1 ``off`` and ``no`` are false, and 21:00 is 1260."""
    read = from_yaml(
        "nextbest: 1\nplacements: {home: {channel: no, off: [P], experiment_salt: yes}}\n"
        "quiet_hours: {night: {start: 21:00, end: 08:00}}\ncontact_policies: {on: {name: 'y', max: 1, window_s: 60}}"
    )
    assert by_name(read) == {
        ("placement", "home"): {"channel": "no", "off": ["P"], "experiment_salt": "yes"},
        ("quiet_hours", "night"): {"start": "21:00", "end": "08:00"},
        ("contact_policy", "on"): {"name": "y", "max": 1, "window_s": 60},
    }
    assert by_name(from_yaml(to_yaml(read))) == by_name(read)


def test_every_kind_is_generated() -> None:
    """Otherwise the round trip would say nothing about a kind that is new."""
    from tests.support.catalogue_strategies import SIMPLE

    assert {*SIMPLE, "offer", "treatment"} == {kind.name for kind in KINDS.values() if kind.in_files}


def test_documents_are_for_people() -> None:
    document = to_yaml(from_yaml(OFFER + "    starts_at: 2026-03-01\n    ends_at: 2026-04-01T00:00:00Z\n"))
    assert yaml.safe_load(document)["offers"]["gold"] == {
        "name": "Gold",
        "group": "cards",
        "value": 3.0,
        "starts_at": "2026-03-01T00:00:00+00:00",
        "ends_at": "2026-04-01T00:00:00+00:00",
    }
