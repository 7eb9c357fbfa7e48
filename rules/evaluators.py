"""The two evaluators of expressions, and the choice between them.

CEL's own implementation in C++ (``cel-expr-python``) checks expressions, so it says what they mean: it evaluates all of
them but the simple ones. Those are evaluated by the library in Rust (``common-expression-language``), which is seven
times as fast and differs in other functions: its texts have bytes for characters, it knows no time zones, and words in
its patterns have letters beyond ASCII. ``tests/unit/rules/test_differences.py`` compares both. The plainest of the
simple ones need neither, as long as nothing is missing (``rules/direct.py``).
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import cel
from cel_expr_python import cel as checker

from rules.syntax import Node
from rules.tokens import tokens
from rules.vocabulary import HISTORY, ROOTS

SIMPLE_OVERLOADS = frozenset((
    "logical_and", "logical_or", "logical_not", "conditional", "equals", "not_equals", "in_list",
    *(f"{name}_{type_}" for name in ("less", "less_equals", "greater", "greater_equals")
      for type_ in ("int64", "double", "string", "bool", "timestamp", "duration")),
    *(f"{name}_int64" for name in ("add", "subtract", "multiply", "divide", "modulo")),
    *(f"{name}_double" for name in ("add", "subtract", "multiply", "negate")),
    "negate_int64", "add_string", "contains_string", "starts_with_string", "ends_with_string", "int64_to_double",
    "double_to_int64", "string_to_duration", "add_timestamp_duration", "add_duration_timestamp",
    "subtract_timestamp_duration", "subtract_timestamp_timestamp", "timestamp_to_year", "timestamp_to_month",
    "timestamp_to_day_of_month", "timestamp_to_day_of_month_1_based", "timestamp_to_day_of_week",
    "timestamp_to_day_of_year", "timestamp_to_hours", "timestamp_to_minutes", "timestamp_to_seconds",
    "timestamp_to_milliseconds",
))  # fmt: skip
"""Functions of which both evaluators have the same opinion."""

PRESENT = "nb_present"
"""The root of the variables that stand for ``has(path)``."""

_NO_VALUE = re.compile(r'No value with name "([^"]+)"')
_NO_ZONE = "Invalid timezone"
_ZONES = Path("/usr/share/zoneinfo")

if not _ZONES.is_dir():  # small images have no zones: those of the package tzdata, as Python itself does
    os.environ.setdefault("TZDIR", str(files("tzdata") / "zoneinfo"))


class UnknownZone(Exception):
    """There is no time zone of that name."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An expression, compiled by the reference implementation.

    ``paths`` are the attributes that it refers to and ``tested`` those that it asks ``has(path)`` of; both are
    variables of their own for it, as ``now`` and ``segment.<name>`` are.
    """

    environment: Any
    program: Any
    paths: frozenset[str]
    tested: frozenset[str]

    def run(self, values: Mapping[str, Any]) -> Any:
        """Evaluate on ``values`` by path, those that are not needed included.

        Raises ``KeyError`` for a value that is missing, ``UnknownZone``, and ``RuntimeError`` for anything else that
        keeps it from a result.
        """
        given = {path: values[path] for path in self.paths if path in values}
        for path in self.tested:
            given[f"{PRESENT}.{path}"] = path in values
        result = self.program.eval(self.environment.Activation(given))
        if str(result.type()) != "ERROR":
            return result.plain_value()
        message = str(result.value())
        if missing := _NO_VALUE.search(message):
            raise KeyError(missing[1].rpartition(".")[2])
        if _NO_ZONE in message:
            raise UnknownZone
        raise RuntimeError(message)


def presence_tests(source: str) -> Iterator[tuple[int, int, str]]:
    """Yield where ``has(path)`` begins and ends, and the path, for all paths of attributes."""
    found = list(tokens(source))
    for i in range(len(found) - 3):
        has, opening, name, closing = found[i : i + 4]
        shape = (has.kind, has.text, opening.text, name.kind, closing.text)
        if shape == ("name", "has", "(", "name", ")") and name.text.partition(".")[0] in (*ROOTS, HISTORY):
            yield has.at, closing.at + 1, name.text


def without_presence_tests(source: str) -> str:
    """Put ``true`` in the place of every ``has(path)``, as long as what it replaces, so that positions stay."""
    for start, end, _ in presence_tests(source):
        source = source[:start] + "true".ljust(end - start) + source[end:]
    return source


def with_presence_variables(source: str) -> str:
    """Put a variable in the place of every ``has(path)``."""
    for start, end, path in reversed(list(presence_tests(source))):
        source = f"{source[:start]}{PRESENT}.{path}{source[end:]}"
    return source


def presence_variables(paths: Iterable[str]) -> dict[str, Any]:
    """Declare the variables that stand for ``has(path)``."""
    return {f"{PRESENT}.{path}": checker.Type.BOOL for path in paths}


def is_simple(tree: Node) -> bool:
    """Return whether both evaluators agree on all that an expression does."""
    return all(
        node.kind in ("literal", "name")
        or (node.kind == "list" and all(child.kind == "literal" for child in node.children))
        or (node.kind == "call" and bool(node.overloads) and SIMPLE_OVERLOADS.issuperset(node.overloads))
        for node in tree.walk()
    ) and not any(isinstance(node.value, bytes) for node in tree.walk())


def is_pattern(pattern: str) -> bool:
    """Return whether ``matches`` can read a pattern."""
    return str(_PATTERNS.eval(_PATTERN_ENVIRONMENT.Activation({"p": pattern})).type()) != "ERROR"


def is_zone(name: str) -> bool:
    """Return whether there is a time zone: a name of the IANA, or an offset such as ``+02:00``."""
    return bool(name) and str(_ZONED.eval(_PATTERN_ENVIRONMENT.Activation({"p": name})).type()) != "ERROR"


def zone_like(name: str) -> str | None:
    """Find the time zone that ``name`` may have been meant to be."""
    by_lower = {zone.lower(): zone for zone in available_timezones()}
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[near[0]] if near else None


def run_simple(program: Any, roots: Mapping[str, Any]) -> Any:
    """Evaluate with the fast evaluator, on values nested below their roots."""
    context = cel.Context()
    for name, value in roots.items():
        context.add_variable(name, value)
    return program.execute(context)


_PATTERN_ENVIRONMENT = checker.NewEnv(variables={"p": checker.Type.STRING})
_PATTERNS = _PATTERN_ENVIRONMENT.compile("''.matches(p)")
_ZONED = _PATTERN_ENVIRONMENT.compile("timestamp('2026-01-01T00:00:00Z').getHours(p) >= 0")
