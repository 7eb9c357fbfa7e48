"""Expressions: checked against the vocabulary when they are saved, compiled for evaluation."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import cel
from cel_expr_python import cel as checker

from rules.errors import RuleError
from rules.tokens import literal, position, tokens
from rules.vocabulary import ROOTS, Vocabulary

Kind = Literal["condition", "number"]

MAX_CHARS = 4000
MAX_COMPREHENSIONS = 3
SEGMENT = "segment"
_COMPREHENSIONS = ("all", "exists", "exists_one", "map", "filter")
_WHERE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
# The checker knows attributes by their whole path, so has(a.b) is not a test of a field for it.
_HAS = re.compile(r"\bhas\(\s*([A-Za-z_][\w.]*)\s*\)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_OVERLOAD = re.compile(r"found no matching overload for '_?([^'_]+(?:_[a-z]+)?)_?'? ?applied to '(.*)'")

_SAMPLE_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_TYPES: Mapping[str, tuple[Any, Any]] = {
    "string": (checker.Type.STRING, "x"),
    "number": (checker.Type.DOUBLE, 1.0),
    "int": (checker.Type.INT, 1),
    "bool": (checker.Type.BOOL, True),
    "list": (checker.Type.List(checker.Type.STRING), ["x"]),
    "timestamp": (checker.Type.TIMESTAMP, _SAMPLE_TIME),
}
"""The checker's type of each type of attribute, and a made-up value."""


@dataclass(frozen=True)
class Expression:
    """A checked expression. ``paths``: the attributes that it refers to; ``segments``: the named segments."""

    source: str
    kind: Kind
    paths: frozenset[str]
    segments: frozenset[str]

    @cached_property
    def program(self) -> Any:
        """The compiled form, shared by all uses."""
        return cel.compile(self.source)

    @property
    def roots(self) -> frozenset[str]:
        """The roots that it depends on: ``customer``, ``context``, ``offer``, ``now`` (segments not followed)."""
        return frozenset(path.partition(".")[0] for path in self.paths)


class Checker:
    """Checks expressions against one vocabulary and the names of the segments."""

    def __init__(self, vocabulary: Vocabulary, segments: Iterable[str] = ()) -> None:
        self.vocabulary = vocabulary
        self.segments = frozenset(segments)
        variables = {path: _TYPES[attribute.type][0] for path, attribute in vocabulary.attributes.items()}
        variables |= {f"{SEGMENT}.{name}": checker.Type.BOOL for name in self.segments}
        variables["now"] = checker.Type.TIMESTAMP
        self._environment = checker.NewEnv(variables=variables)
        self._checked: dict[tuple[str, Kind], Expression] = {}

    def check(self, source: str, kind: Kind = "condition") -> Expression:
        """Check a condition, or a number. Raises ``RuleError``: where, why, and what may have been meant."""
        known = self._checked.get((source, kind))
        if known is None:
            known = self._checked[source, kind] = self._check(source, kind)
        return known

    def _check(self, source: str, kind: Kind) -> Expression:
        if not source.strip():
            raise RuleError("the expression is empty: leave it out if there is no condition")
        if len(source) > MAX_CHARS:
            raise RuleError(f"the expression has {len(source)} characters; at most {MAX_CHARS} are taken")
        if "\x00" in source:
            raise RuleError("the expression contains the character NUL")
        # Two libraries share the work: the checker, CEL's own C++ implementation (``cel-expr-python``), knows types and
        # positions; the Rust evaluator (``common-expression-language``) is fast on a prepared context.
        try:
            checked = self._environment.compile(_HAS.sub(_padded_true, source))
        except RuntimeError as error:
            raise self._explain(source, str(error)) from None
        self._check_result(checked.return_type(), kind)
        paths, segments = self._references(source)
        self._check_values(source)
        expression = Expression(source, kind, paths, segments)
        _try_to_run(expression, self.vocabulary)
        return expression

    @staticmethod
    def _check_result(result: Any, kind: Kind) -> None:
        name = str(result)
        if kind == "condition" and name != "BOOL":
            raise RuleError(f"a condition must be true or false; this is {_type_name(name)}")
        if kind == "number" and name not in ("DOUBLE", "INT"):
            raise RuleError(f"a value must be a number; this is {_type_name(name)}")

    def _references(self, source: str) -> tuple[frozenset[str], frozenset[str]]:
        paths: set[str] = set()
        segments: set[str] = set()
        comprehensions = 0
        for token in tokens(source):
            if token.kind != "name":
                continue
            parts = token.text.split(".")
            comprehensions += parts[-1] in _COMPREHENSIONS and len(parts) > 1
            if parts[0] == SEGMENT and len(parts) > 1:
                segments.add(parts[1])
            elif parts[0] == "now":
                paths.add("now")
            elif parts[0] in ROOTS:
                paths.add(self._declared_path(source, parts, token.at))
        if comprehensions > MAX_COMPREHENSIONS:
            raise RuleError(
                f"at most {MAX_COMPREHENSIONS} of {', '.join(_COMPREHENSIONS)} may be used in one expression"
            )
        return frozenset(paths), frozenset(segments)

    def _declared_path(self, source: str, parts: list[str], at: int) -> str:
        """Find the declared path at the start of a dotted name."""
        # The longest one: behind it come methods.
        for end in range(len(parts), 1, -1):
            path = ".".join(parts[:end])
            if path in self.vocabulary.attributes:
                return path
        raise self._undeclared_error(source, *position(source, at), ".".join(parts))

    def _check_values(self, source: str) -> None:
        """Compare string literals with the allowed values of the attribute that they are compared with."""
        found = list(tokens(source))
        for i, token in enumerate(found):
            attribute = self.vocabulary.attributes.get(token.text) if token.kind == "name" else None
            if attribute is None or not attribute.values or attribute.type not in ("string", "list"):
                continue
            for other in _compared_with(found, i):
                value = literal(other.text)
                if value is not None and value not in attribute.values:
                    line, column = position(source, other.at)
                    allowed = [str(v) for v in attribute.values]
                    near = Vocabulary(dict.fromkeys(allowed, attribute)).like(value)
                    raise RuleError(
                        f"{value!r} is not a value of {attribute.path}; its values are {', '.join(allowed)}",
                        line,
                        column,
                        near and f"did you mean {near!r}?",
                    )

    def _explain(self, source: str, message: str) -> RuleError:
        """Put the checker's complaint in words, with what may have been meant."""
        where = _WHERE.search(message)
        if where is None:
            return RuleError(message.strip())
        line, column = int(where[1]), int(where[2])
        text = where[3].strip().removesuffix("[INVALID_ARGUMENT]").strip()
        if undeclared := _UNDECLARED.search(text):
            return self._undeclared_error(source, line, column, undeclared[1])
        if overload := _OVERLOAD.search(text):
            types = overload[2]
            suggestion = None
            if "double" in types and "int" in types:
                suggestion = (
                    "numbers of type double are compared with 3.0, not with 3; int(x) and double(x) convert"
                )
            return RuleError(f"{overload[1]!r} does not go with {types}", line, column, suggestion)
        return RuleError(text, line, column)

    def _undeclared_error(self, source: str, line: int, column: int, name: str) -> RuleError:
        full, column = _name_at(source, line, column) or (name, column)
        if full.startswith(f"{SEGMENT}."):
            known = Vocabulary({s: next(iter(self.vocabulary.attributes.values())) for s in self.segments})
            near = known.like(full.removeprefix(f"{SEGMENT}."))
            return RuleError(
                f"there is no segment {full.removeprefix('segment.')!r}",
                line,
                column,
                near and f"did you mean segment.{near}?",
            )
        near = self.vocabulary.like(full)
        what = "attribute" if full.partition(".")[0] in ROOTS else "name or function"
        return RuleError(
            f"there is no {what} {full!r} in the vocabulary", line, column, near and f"did you mean {near}?"
        )


def _name_at(source: str, line: int, column: int) -> tuple[str, int] | None:
    """Find the dotted name that spans a position, and the column where it begins."""
    # The checker points at the dot of an undeclared name.
    for token in tokens(source):
        if token.kind == "name":
            at_line, at_column = position(source, token.at)
            if at_line == line and at_column <= column <= at_column + len(token.text):
                return token.text, at_column
    return None


def _compared_with(found: list[Any], i: int) -> list[Any]:
    """Find string literals compared with what is at ``i``: by ``==``, ``!=``, ``in [...]``, or as a member of it."""
    others = []
    if i + 2 < len(found) and found[i + 1].text in ("==", "!=") and found[i + 2].kind == "string":
        others.append(found[i + 2])
    if i >= 2 and found[i - 1].text in ("==", "!=", "in") and found[i - 2].kind == "string":
        others.append(found[i - 2])
    if i + 2 < len(found) and found[i + 1].text == "in" and found[i + 2].text == "[":
        for token in found[i + 3 :]:
            if token.text == "]":
                break
            if token.kind == "string":
                others.append(token)
    return others


def _padded_true(match: "re.Match[str]") -> str:
    """Put ``true`` in the place of ``has(path)``; the path is checked with all others."""
    # As long as what it replaces, so that positions stay.
    return "true".ljust(len(match[0]))


def _type_name(name: str) -> str:
    return {"DOUBLE": "a number", "INT": "a whole number", "STRING": "a text", "BOOL": "true or false"}.get(
        name, name.lower()
    )


def _try_to_run(expression: Expression, vocabulary: Vocabulary) -> None:
    """Refuse what the evaluator cannot run, by running it once on made-up values."""
    try:
        expression.program.execute(_sample_context(expression, vocabulary))
    except ValueError as error:
        raise RuleError(f"the evaluator cannot read this: {str(error).splitlines()[0]}") from None
    except RuntimeError as error:
        raise RuleError(f"the evaluator has no such function: {str(error).split('.', 1)[0]}") from None
    except (KeyError, TypeError, ZeroDivisionError, OverflowError, IndexError):
        return  # depends on the values


def _sample_context(expression: Expression, vocabulary: Vocabulary) -> Any:
    """Make up values for everything that an expression refers to."""
    roots: dict[str, dict[str, Any]] = {"customer": {}, "context": {}, "offer": {}}
    for path in expression.paths - {"now"}:
        root, *names = path.split(".")
        place = roots[root]
        for name in names[:-1]:
            place = place.setdefault(name, {})
        attribute = vocabulary.attributes[path]
        sample = attribute.values[0] if attribute.values else _TYPES[attribute.type][1]
        place[names[-1]] = [sample] if attribute.type == "list" and attribute.values else sample
    context = cel.Context()
    for root, values in roots.items():
        context.add_variable(root, values)
    context.add_variable("now", _SAMPLE_TIME)
    context.add_variable(SEGMENT, dict.fromkeys(expression.segments, True))
    return context
