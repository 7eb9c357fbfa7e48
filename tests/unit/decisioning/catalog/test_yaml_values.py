"""YAML as plain values: whatever plain values are written are read again, each with its line."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from decisioning.catalog.yaml_values import FAST_DUMPER, MAX_DEPTH, DocumentError, parse

TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029\ufeff\ufffe\uffff"),
    max_size=12,
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


def depth(value: Any) -> int:
    """The number of collections inside of each other."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, items), default=0)
    return 0


@given(VALUES.filter(lambda value: depth(value) <= MAX_DEPTH), st.booleans())
def test_what_is_written_is_read_again(value: Any, flow: bool) -> None:
    document = yaml.dump(
        value, Dumper=FAST_DUMPER, allow_unicode=True, default_flow_style=flow, sort_keys=False
    )
    read, lines = parse(document)
    assert (read, type(read)) == (value, type(value))
    assert all(1 <= line <= document.count("\n") + 1 for line in lines.values())


def test_every_path_has_the_line_of_its_name() -> None:
    read, lines = parse("a:\n  b: 1\n\n  c:\n  - x\n  -\n    d: 2\n")
    assert read == {"a": {"b": 1, "c": ["x", {"d": 2}]}}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 7,
        ("a", "c", 1, "d"): 7,
    }


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *(
            (word, word)
            for word in ("yes", "no", "on", "off", "y", "21:00", "0x1f", "1_000", "010", "+.5", "1e3")
        ),
        *((word, None) for word in ("", "~", "null")),
        ("True", True),
        ("-12", -12),
        ("1.", 1.0),
        (".5", ".5"),
        ("1.5e+3", 1500.0),
        ("2026-03-01", date(2026, 3, 1)),
        ("2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("'12'", "12"),
        ("!!str 12", "12"),
    ],
)
def test_plain_words(written: str, value: Any) -> None:
    (read,) = parse(f"- {written}")[0]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("document", "line", "words"),
    [
        ("a: 1\nb: &x 2\nc: *x", 3, "aliases"),
        ("a: 1\nb: !!binary aGk=", 2, "tags"),
        ("a: !mine {b: 1}", 1, "tags"),
        ("a: .inf", 1, "finite number"),
        ("a: 1\na: 2", 2, "'a' is there twice"),
        ("x:\n  1: a\n  '1': b", 3, "'1' is there twice"),
        ("a:\n  2.5: b", 2, "names must be plain text"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("a: [1\n", 2, "did not find"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), 1, f"more than {MAX_DEPTH} levels"),
        ("a: 2026-02-30", 1, "day is out of range"),
    ],
)
def test_what_is_not_taken_is_named_with_its_line(document: str, line: int, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as caught:
        parse(document)
    assert f"line {line}:" in str(caught.value)


def test_the_deepest_document_that_is_taken_and_the_empty_one() -> None:
    assert depth(parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)[0]) == MAX_DEPTH
    assert parse("")[0] is None
    with pytest.raises(DocumentError, match="is not YAML"):
        parse("a: \x07")
