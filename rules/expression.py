"""Expressions: checked against the vocabulary when they are saved, compiled for evaluation."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import cel
from cel_expr_python import cel as checker

from rules.cost import MAX_COST, actual_size, cost, declared_size
from rules.direct import Direct, compile_direct
from rules.errors import RuleError
from rules.evaluators import (
    PRESENT,
    Reference,
    is_simple,
    presence_tests,
    presence_variables,
    with_presence_variables,
    without_presence_tests,
)
from rules.history import HistoryCall, HistoryUse, find_calls, with_calls, with_variables
from rules.mistaken_names import Names
from rules.mistakes import SYNTAX, Mended, first_mistake, mend
from rules.syntax import Node, read_tree
from rules.tokens import compared_with, literal, position, tokens
from rules.trial import agrees, problem_with_literals
from rules.vocabulary import HISTORY, ROOTS, Attribute, Vocabulary

Kind = Literal["condition", "number"]

MAX_CHARS = 4000
MAX_COMPREHENSIONS = 3
SEGMENT = "segment"
_COMPREHENSIONS = ("all", "exists", "exists_one", "map", "filter")
_WHERE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_OVERLOAD = re.compile(r"found no matching overload for '_?([^'_]+(?:_[a-z]+)?)_?'? ?applied to '(.*)'")

_TYPES: Mapping[str, Any] = {
    "string": checker.Type.STRING,
    "number": checker.Type.DOUBLE,
    "int": checker.Type.INT,
    "bool": checker.Type.BOOL,
    "list": checker.Type.List(checker.Type.STRING),
    "timestamp": checker.Type.TIMESTAMP,
}
"""The checker's type of each type of attribute."""


@dataclass(frozen=True)
class Expression:
    """A checked expression. ``paths``: the attributes that it refers to; ``segments``: the named segments.

    ``simple``: the fast evaluator evaluates it, otherwise ``reference`` does; ``direct``: does so without a context of
    CEL, if it is that plain, and does not look at offers. ``reckoned``: the size of each text and list that was
    reckoned with. ``objection``: a reason why it cannot be saved any more, although it is evaluated (within the bound
    of its cost) where an earlier version saved it. ``calls``: what it asks of the customer's history, by the variables
    that stand for it in ``evaluated``, the source that is compiled.
    """

    source: str
    kind: Kind
    paths: frozenset[str]
    segments: frozenset[str]
    simple: bool = field(compare=False)
    reference: Reference = field(compare=False, repr=False)
    tree: Node = field(compare=False, repr=False)
    reckoned: Mapping[str, float] = field(compare=False, repr=False)
    offer_types: Mapping[str, str] = field(compare=False, repr=False)
    objection: RuleError | None = field(default=None, compare=False, repr=False)
    calls: Mapping[str, HistoryCall] = field(default_factory=dict, compare=False, repr=False)
    evaluated: str = field(default="", compare=False, repr=False)
    direct: Direct | None = field(default=None, compare=False, repr=False)

    @cached_property
    def program(self) -> Any:
        """The form that the fast evaluator has compiled, shared by all uses."""
        return cel.compile(self.evaluated or self.source)

    @property
    def roots(self) -> frozenset[str]:
        """The roots that it depends on: ``customer``, ``context``, ``offer``, ``history``, ``now``; not of segments."""
        return frozenset(path.partition(".")[0] for path in self.paths)

    def affordable(self, values: Mapping[str, Any]) -> bool:
        """Return whether it can be evaluated on ``values`` by path within ``MAX_COST`` steps."""
        within = all(len(values.get(path, ())) <= most for path, most in self.reckoned.items())
        if within and self.objection is None:
            return True
        return cost(self.tree, lambda path: actual_size(values.get(path))) <= MAX_COST


class Checker:
    """Checks expressions against one vocabulary, the names of the segments, and those of declared outcomes."""

    def __init__(
        self, vocabulary: Vocabulary, segments: Iterable[str] = (), outcomes: Iterable[str] = ()
    ) -> None:
        self.vocabulary = vocabulary
        self.segments = frozenset(segments)
        self.outcomes = frozenset(outcomes)
        variables = {path: _TYPES[attribute.type] for path, attribute in vocabulary.attributes.items()}
        variables |= {f"{SEGMENT}.{name}": checker.Type.BOOL for name in self.segments}
        variables["now"] = checker.Type.TIMESTAMP
        # One environment for all: values of another one are not always taken.
        self._environment = checker.NewEnv(variables=variables | presence_variables(vocabulary.attributes))
        self._names = Names(vocabulary, self.segments)
        self._checked: dict[tuple[str, Kind], Expression] = {}
        self._knowing: dict[tuple[Attribute, ...], Checker] = {}

    def knowing(self, attributes: tuple[Attribute, ...]) -> "Checker":
        """Return the checker of a vocabulary that has these attributes as well. It remembers what it has checked."""
        found = self._knowing.get(attributes)
        if found is None:
            added = {attribute.path: attribute for attribute in attributes}
            known = Vocabulary({**self.vocabulary.attributes, **added})
            found = Checker(known, self.segments, self.outcomes)
            self._knowing[attributes] = found
        return found

    def check(self, source: str, kind: Kind = "condition") -> Expression:
        """Check a condition, or a number, as it was saved at some time.

        Raises ``RuleError``: where, why, and what may have been meant.
        """
        known = self._checked.get((source, kind))
        if known is None:
            known = self._checked[source, kind] = self._check(source, kind)
        return known

    def check_new(self, source: str, kind: Kind = "condition") -> Expression:
        """Check an expression that is to be saved or tried: it must be within the bound of cost as well.

        It is not remembered: tries would fill the memory.
        """
        expression = self._checked.get((source, kind)) or self._check(source, kind)
        if expression.objection is not None:
            raise expression.objection
        return expression

    def _check(self, source: str, kind: Kind) -> Expression:
        if not source.strip():
            raise RuleError("the expression is empty: leave it out if there is no condition")
        if len(source) > MAX_CHARS:
            raise RuleError(f"the expression has {len(source)} characters; at most {MAX_CHARS} are taken")
        if "\x00" in source:
            raise RuleError("the expression contains the character NUL")
        uses = find_calls(source)
        return self._check_with_history(source, kind, uses) if uses else self._compile(source, kind)

    def _check_with_history(self, source: str, kind: Kind, uses: list[HistoryUse]) -> Expression:
        """Check an expression in which variables stand for what it asks of the customer's history."""
        calls = {use.call.path: use.call for use in uses}
        declared = {path: call.attribute(self.outcomes) for path, call in calls.items()}
        inner = Checker(Vocabulary({**self.vocabulary.attributes, **declared}), self.segments)
        evaluated = with_variables(source, uses)
        try:
            expression = inner._compile(evaluated, kind)
        except RuleError as error:
            raise _with_calls(error, uses) from None
        objection = expression.objection and _with_calls(expression.objection, uses)
        return replace(expression, source=source, objection=objection, calls=calls, evaluated=evaluated)

    def _compile(self, source: str, kind: Kind) -> Expression:
        try:
            checked, paths, segments = self._read(source, kind)
        except RuleError as error:
            raise self._with_correction(error, source, kind) from None
        tree = read_tree(checked.serialize())
        reference = self._reference(source, checked, paths, segments)
        objection = self._find_objection(source, tree)
        simple = is_simple(tree) and objection is None and agrees(source, reference, self.vocabulary)
        attributes = {path: self.vocabulary.attributes[path] for path in paths - {"now"}}
        offer_types = {p: a.type for p, a in attributes.items() if p.startswith("offer.")}
        direct = None
        if simple and kind == "condition" and not offer_types:
            direct = compile_direct(read_tree(reference.program.serialize()), PRESENT)
        return Expression(
            source,
            kind,
            paths,
            segments,
            simple,
            reference,
            tree,
            {p: declared_size(a).count for p, a in attributes.items() if a.type in ("string", "list")},
            offer_types,
            objection,
            direct=direct,
        )

    def _read(self, source: str, kind: Kind) -> tuple[Any, frozenset[str], frozenset[str]]:
        """Compile an expression, and find what it refers to. Raises ``RuleError`` for anything that is not right."""
        try:
            # The checker knows attributes by their whole path, so has(a.b) is not a test of a field for it.
            checked = self._environment.compile(without_presence_tests(source))
        except RuntimeError as error:
            raise self._explain(source, str(error)) from None
        self._check_result(checked.return_type(), kind)
        paths, segments = self._references(source)
        self._check_values(source)
        return checked, paths, segments

    def _with_correction(self, error: RuleError, source: str, kind: Kind) -> RuleError:
        """Look for usual mistakes, and add what to write in place of the expression, if that is right then."""
        syntax = first_mistake(source, SYNTAX)
        mended = mend(source, (*SYNTAX, *self._names.finders()))
        if mended is None:
            return error
        if syntax is not None:
            line, column = position(source, syntax.at)
            written = syntax.text.strip()
            error = RuleError(syntax.message, line, column, f"write {written}" if written else None)
        elif error.suggestion is None and position(source, mended.first.at) == (error.line, error.column):
            error = RuleError(error.message, error.line, error.column, f"did you mean {mended.first.text}?")
        if (corrected := self._corrected(mended, kind)) is not None:
            return RuleError(error.message, error.line, error.column, f"write {corrected}")
        return error

    def _corrected(self, mended: Mended, kind: Kind) -> str | None:
        try:
            self._read(mended.source, kind)
        except RuleError:
            return None
        return mended.source

    def _reference(
        self, source: str, checked: Any, paths: frozenset[str], segments: frozenset[str]
    ) -> Reference:
        tested = frozenset(path for _, _, path in presence_tests(source))
        variables = paths | {f"{SEGMENT}.{name}" for name in segments}
        program = self._environment.compile(with_presence_variables(source)) if tested else checked
        return Reference(self._environment, program, variables, tested)

    def _find_objection(self, source: str, tree: Node) -> RuleError | None:
        if sum(node.kind == "loop" for node in tree.walk()) > MAX_COMPREHENSIONS:
            return RuleError(
                f"at most {MAX_COMPREHENSIONS} of {', '.join(_COMPREHENSIONS)} may be used in one expression"
            )
        steps = cost(tree, lambda path: declared_size(self.vocabulary.attributes.get(path)))
        if steps > MAX_COST:
            return RuleError(
                f"the expression may take {steps:,.0f} steps; at most {MAX_COST:,} are taken",
                suggestion="x in list looks through a list in one step of its own; do not nest passes over long lists",
            )
        return problem_with_literals(source, tree)

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
        for token in tokens(source):
            if token.kind != "name":
                continue
            parts = token.text.split(".")
            if parts[0] == SEGMENT and len(parts) > 1:
                segments.add(parts[1])
            elif parts[0] == "now":
                paths.add("now")
            elif parts[0] in (*ROOTS, HISTORY):
                paths.add(self._declared_path(source, parts, token.at))
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
            for other in compared_with(found, i):
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
            types = overload[2].replace("google.protobuf.Timestamp", "timestamp").replace("null_type", "null")
            suggestion = None
            if "double" in types and "int" in types:
                suggestion = (
                    "numbers of type double are compared with 3.0, not with 3; int(x) and double(x) convert"
                )
            name = overload[1].removeprefix("@")
            return RuleError(f"{name!r} does not go with {types}", line, column, suggestion)
        return RuleError(_plain_syntax_error(text), line, column)

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


def _with_calls(error: RuleError, uses: list[HistoryUse]) -> RuleError:
    """Speak of calls where an error speaks of the variables that stand for them."""
    suggestion = error.suggestion and with_calls(error.suggestion, uses)
    return RuleError(with_calls(error.message, uses), error.line, error.column, suggestion)


def _name_at(source: str, line: int, column: int) -> tuple[str, int] | None:
    """Find the dotted name that spans a position, and the column where it begins."""
    # The checker points at the dot of an undeclared name.
    for token in tokens(source):
        if token.kind == "name":
            at_line, at_column = position(source, token.at)
            if at_line == line and at_column <= column <= at_column + len(token.text):
                return token.text, at_column
    return None


def _plain_syntax_error(text: str) -> str:
    """Leave out of the parser's complaint what would have been possible, in the words of its grammar."""
    text = text.partition(" expecting {")[0].removesuffix(" expecting <EOF>")
    if "'<EOF>'" in text:
        missing = re.search(r"missing '(.)' at", text)
        return f"Syntax error: {f'a {missing[1]} is missing' if missing else 'it ends too early'}"
    return text


def _type_name(name: str) -> str:
    return {"DOUBLE": "a number", "INT": "a whole number", "STRING": "a text", "BOOL": "true or false"}.get(
        name, name.lower()
    )
