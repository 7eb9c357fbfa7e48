"""Trials of an expression when it is saved: on made-up values beyond ASCII, and of the literals in it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import cel

from rules.errors import RuleError
from rules.evaluators import Reference, is_pattern, is_zone, run_simple, zone_like
from rules.syntax import Node
from rules.tokens import literal, position, tokens
from rules.vocabulary import HISTORY, Vocabulary

TIME_ACCESSORS = frozenset((
    "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes",
    "getSeconds", "getMilliseconds",
))  # fmt: skip

_SAMPLES: tuple[Mapping[str, Any], ...] = (
    {
        "string": "x",
        "number": 1.0,
        "int": 1,
        "bool": True,
        "list": ["x"],
        "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
    },
    {
        "string": "Málaga 😀",
        "number": -0.5,
        "int": -(2**53) - 1,
        "bool": False,
        "list": ["Málaga", "e\u0301", "日本"],
        "timestamp": datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC),
    },
)
"""Values of each type of attribute."""


def agrees(source: str, reference: Reference, vocabulary: Vocabulary) -> bool:
    """Return whether the fast evaluator finds what the reference implementation does, on all samples."""
    try:
        program = cel.compile(source)
    except ValueError:
        return False
    for at in range(len(_SAMPLES)):
        roots, values = _sample(reference, vocabulary, at)
        try:
            expected = reference.run(values)
        except (KeyError, RuntimeError):
            expected = None
        try:
            found = run_simple(program, roots)
        except (KeyError, RuntimeError, TypeError, ArithmeticError, IndexError, ValueError):
            found = None
        if type(found) is not type(expected) or found != expected:
            return False
    return True


def problem_with_literals(source: str, tree: Node) -> RuleError | None:
    """Find the first time zone that does not exist, or pattern that cannot be read."""
    for node in tree.walk():
        value = node.children[-1].value if node.kind == "call" and len(node.children) > 1 else None
        if not isinstance(value, str):
            continue
        if node.name in TIME_ACCESSORS and not is_zone(value):
            near = zone_like(value)
            return RuleError(
                f"there is no time zone {value!r}",
                *_position_of(value, source),
                near and f"did you mean {near!r}?",
            )
        if node.name == "matches" and not is_pattern(value):
            return RuleError(f"{value!r} is not a pattern", *_position_of(value, source))
    return None


def _position_of(value: str, source: str) -> tuple[int, int]:
    """Find line and column of a literal; the beginning if it is written with escapes."""
    for token in tokens(source):
        if token.kind == "string" and literal(token.text) == value:
            return position(source, token.at)
    return 1, 1


def _sample(reference: Reference, vocabulary: Vocabulary, at: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make up values for all that an expression refers to: nested below their roots, and by path."""
    roots: dict[str, Any] = {"customer": {}, "context": {}, "offer": {}, "segment": {}, HISTORY: {}}
    values: dict[str, Any] = {}
    for path in reference.paths:
        if path == "now":
            roots["now"] = values["now"] = _SAMPLES[at]["timestamp"]
            continue
        root, *names = path.split(".")
        attribute = vocabulary.attributes.get(path)  # none for a segment
        value: Any = at == 0
        if attribute is not None:
            value = _SAMPLES[at][attribute.type]
            if attribute.values:
                value = attribute.values[-at]
                value = [value] if attribute.type == "list" else value
                value = float(value) if attribute.type == "number" else value
        place = roots.setdefault(root, {})
        for name in names[:-1]:
            place = place.setdefault(name, {})
        place[names[-1]] = values[path] = value
    return roots, values
