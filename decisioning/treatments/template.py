"""Texts with variables: ``Good morning, {{ customer.first_name | title }}``.

Jinja2 reads them and its immutable sandbox runs them, but only a small part of its language is let through: paths
below ``customer``, ``context`` and ``offer``, and a few filters with literal arguments. So a text cannot reach Python,
and a value is only ever shown, never read as a template.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from decisioning.treatments.filters import (
    FILTER_USAGE,
    FILTERS,
    FallbackText,
    format_value,
    plain_value,
    takes_arguments,
    unless_fallback,
)
from rules.errors import RuleError
from rules.tokens import position
from rules.vocabulary import DECLARED_ROOTS

MAX_CHARS = 8000
"""The longest text, as it is written and as it is rendered."""
MAX_VARIABLES = 50
MAX_FILTERS = 10
"""The most filters on one variable."""

Lookup = Callable[[str], Any]
NO_FALLBACKS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class VariableUse:
    """A variable in a text, with its place. ``guarded``: followed by ``default``, so it needs no fallback."""

    path: str
    line: int
    column: int
    guarded: bool


@dataclass(frozen=True, slots=True)
class ParsedText:
    """A text that has been parsed. ``names``: path of each variable to its name in ``template``."""

    source: str
    uses: tuple[VariableUse, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    template: Template | None = None

    def render(self, lookup: Lookup, fallbacks: Mapping[str, str] = NO_FALLBACKS) -> str:
        """Return the text with its variables filled in, at most ``MAX_CHARS`` long.

        ``lookup`` gives the value of a path. Where ``plain_value`` finds nothing in it, the fallback of the path is put
        in the place of the variable as it is, whatever the filters; without one the variable counts as missing.
        """
        if self.template is None:
            return self.source
        values: dict[str, Any] = {}
        for path, name in self.names.items():
            value = plain_value(lookup(path))
            if value is not None:
                values[name] = value
            elif path in fallbacks:
                values[name] = FallbackText(fallbacks[path])
        return self.template.render(values)[:MAX_CHARS]


@lru_cache(maxsize=10_000)
def parse_text(source: str) -> ParsedText:
    """Parse a text; the same text is parsed once.

    Raises ``RuleError`` if it contains anything but variables and the filters that are allowed, with the position.
    """
    if len(source) > MAX_CHARS:
        raise RuleError(f"the text has {len(source)} characters; at most {MAX_CHARS} are taken")
    for sign in ("{%", "{#"):
        if sign in source:
            problem = (
                f"{sign!r} is not taken: a text holds only variables such as {{{{ customer.first_name }}}}"
            )
            raise RuleError(problem, *position(source, source.index(sign)))
    if "{{" not in source:
        return ParsedText(source)
    # Jinja2 turns all line ends into \n; done before, places in errors are right.
    return _Reader(re.sub(r"\r\n?", "\n", source)).read()


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with nothing in it: what is let through needs neither attributes nor calls."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False


def _environment() -> _Environment:
    environment = _Environment(keep_trailing_newline=True, finalize=format_value, autoescape=False)
    # Whatever gets past the parser finds nothing here: no functions, no tests, only these filters.
    environment.globals.clear()
    environment.tests.clear()
    # A fallback stands as it was written, whatever the filters.
    environment.filters = {name: unless_fallback(change) for name, change in FILTERS.items()}
    return environment


_ENVIRONMENT = _environment()


class _Reader:
    """Parses one text, and collects the variables that it uses."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._uses: list[VariableUse] = []
        self._names: dict[str, str] = {}

    def read(self) -> ParsedText:
        tree = self._parsed()
        for output in tree.body:
            if not isinstance(output, nodes.Output):
                raise self._refused(output)
            output.nodes = [
                node if isinstance(node, nodes.TemplateData) else self._value(node) for node in output.nodes
            ]
        if len(self._uses) > MAX_VARIABLES:
            raise RuleError(f"at most {MAX_VARIABLES} variables may be used in one text")
        return ParsedText(self._source, tuple(self._uses), self._names, _ENVIRONMENT.from_string(tree))

    def _parsed(self) -> nodes.Template:
        try:
            return _ENVIRONMENT.parse(self._source)
        except TemplateError as error:
            place = self._where(getattr(error, "lineno", 1))
            raise RuleError(f"this cannot be read: {error.message}", *place) from None
        except (RecursionError, ValueError, OverflowError):
            problem = "this cannot be read: it is too deep, or a number too long"
            raise RuleError(problem, *self._where(1)) from None

    def _value(self, node: nodes.Expr) -> nodes.Expr:
        """Check a variable with its filters, and put a plain name in its place."""
        filters: list[nodes.Filter] = []
        inner: nodes.Expr | None = node
        while isinstance(inner, nodes.Filter):
            self._check_filter(inner)
            filters.append(inner)
            inner = inner.node
        if len(filters) > MAX_FILTERS:
            raise RuleError(f"at most {MAX_FILTERS} filters may follow a variable", *self._where(node.lineno))
        names = None if inner is None else _path(inner)
        if inner is None or names is None:
            raise self._refused(node)
        variable = self._variable(inner, names, any(f.name == "default" for f in filters))
        if not filters:
            return variable
        filters[-1].node = variable
        return node

    def _variable(self, node: nodes.Expr, names: tuple[str, ...], guarded: bool) -> nodes.Expr:
        path = ".".join(names)
        pattern = r"\s*\.\s*".join(map(re.escape, names))
        line, column = self._where(_root(node).lineno, rf"(?<![\w.]){pattern}(?!\w)")
        if names[0] not in DECLARED_ROOTS or len(names) < 2:
            starts = ", ".join(f"{root}." for root in DECLARED_ROOTS)
            raise RuleError(f"{path!r} is not a variable: variables start with {starts}", line, column)
        self._uses.append(VariableUse(path, line, column, guarded))
        # A plain variable, whose value is looked up beforehand: what runs knows neither attributes nor calls.
        return nodes.Name(self._names.setdefault(path, f"v{len(self._names)}"), "load", lineno=node.lineno)

    def _check_filter(self, node: nodes.Filter) -> None:
        place = self._where(node.lineno, rf"(?<!\w){re.escape(node.name)}(?!\w)")
        if node.name not in FILTERS:
            raise RuleError(
                f"there is no filter {node.name!r}; there are {', '.join(sorted(FILTERS))}", *place
            )
        constants = [a.value if isinstance(a, nodes.Const) else None for a in node.args]
        if node.kwargs or node.dyn_args or node.dyn_kwargs or not takes_arguments(node.name, constants):
            raise RuleError(f"the filter {node.name!r} is written {FILTER_USAGE[node.name]}", *place)

    def _refused(self, node: nodes.Node) -> RuleError:
        return RuleError(
            "only variables, with filters, are taken: {{ customer.first_name }} or {{ customer.first_name | title }}",
            *self._where(node.lineno),
        )

    def _where(self, line: int, pattern: str = r"\{\{") -> tuple[int, int]:
        """Line and column of what matches, from ``line`` on; the start of that line if nothing does."""
        start = sum(len(text) + 1 for text in self._source.split("\n")[: line - 1])
        found = re.compile(pattern).search(self._source, start)
        return position(self._source, found.start() if found else start)


def _path(node: nodes.Node) -> tuple[str, ...] | None:
    """Return the names of a dotted path; ``None`` if it is anything else."""
    names: list[str] = []
    while isinstance(node, nodes.Getattr):
        names.append(node.attr)
        node = node.node
    return (node.name, *reversed(names)) if isinstance(node, nodes.Name) else None


def _root(node: nodes.Node) -> nodes.Node:
    while isinstance(node, nodes.Getattr):
        node = node.node
    return node
