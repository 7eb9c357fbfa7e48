"""Trees of checked expressions are read from the checker's own form."""

import pytest
from cel_expr_python import cel as checker

from rules.syntax import Node, read_tree

ENVIRONMENT = checker.NewEnv(
    variables={
        "customer.age": checker.Type.INT,
        "context.pages": checker.Type.List(checker.Type.STRING),
        "now": checker.Type.TIMESTAMP,
    }
)


def tree(source: str) -> Node:
    return read_tree(ENVIRONMENT.compile(source).serialize())


def test_attributes_are_names_and_calls_know_their_functions() -> None:
    found = tree("customer.age > -3 && now.getHours('Europe/Madrid') == 9")
    assert (found.name, found.overloads) == ("_&&_", ("logical_and",))
    left, right = found.children
    assert left.children == (Node("name", "customer.age"), Node("literal", value=-3))
    hours = right.children[0]
    assert (hours.name, hours.overloads) == ("getHours", ("timestamp_to_hours_with_tz",))
    assert [child.value for child in hours.children] == [None, "Europe/Madrid"]


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("'Málaga'", "Málaga"),
        ("b'\\xff'", b"\xff"),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ("18446744073709551615u", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_literals(source: str, value: object) -> None:
    assert tree(source) == Node("literal", value=value)  # type: ignore[arg-type]


def test_loops_have_their_parts() -> None:
    found = tree("context.pages.exists(p, p == 'x')")
    assert (found.kind, found.variable, len(found.children)) == ("loop", "p", 5)
    assert found.children[0] == Node("name", "context.pages")
    assert [node.name for node in found.walk() if node.kind == "name"].count("p") == 1


def test_lists_maps_and_fields() -> None:
    assert [node.kind for node in tree("has({'a': [1]}.a)").walk()] == [
        "field",
        "map",
        "literal",
        "list",
        "literal",
    ]
    assert tree("has({'a': 1}.a)").is_test


@pytest.mark.parametrize(
    "damaged", [b"", b"\x22", b"\x22\x05\x08", b"\x22\x02\x08\x01", b"\x27\x00", b"\x80"]
)
def test_another_form_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="the checker gave"):
        read_tree(damaged)
