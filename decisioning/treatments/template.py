"""Texts with variables: ``Good morning, {{ customer.first_name | title }}``.

Jinja2 reads them and its immutable sandbox runs them, but only a small part of its language is let through: paths
below ``customer``, ``context`` and ``offer``, and a few filters with literal arguments. What runs in the end knows
neither attributes nor calls: every path has been replaced by a plain variable, whose value is looked up in the data
beforehand. So a text cannot reach Python, and a value is only ever shown, never read as a template.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from types import MappingProxyType
from typing import Any

from jinja2 import Template, TemplateError, Undefined, nodes
from jinja2.filters import do_capitalize, do_title
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rules.errors import RuleError
from rules.tokens import position
from rules.vocabulary import ROOTS

MAX_CHARS = 8000
"""Of a text as it is written, and of a text as it is said."""
MAX_VALUE_CHARS = 1000
MAX_VARIABLES = 50
MAX_FILTERS = 10
"""On one variable."""

Lookup = Callable[[str], Any]
NO_FALLBACKS: Mapping[str, str] = MappingProxyType({})


class _Fallback(str):
    """A text that filters leave alone."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class VariableUse:
    """A variable in a text, with its place. ``guarded``: followed by ``default``, so it needs no fallback."""

    path: str
    line: int
    column: int
    guarded: bool


@dataclass(frozen=True, slots=True)
class ParsedText:
    """A text that has been read. ``names``: path of each variable to its name in ``template``."""

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
                values[name] = _Fallback(fallbacks[path])
        return self.template.render(values)[:MAX_CHARS]


@lru_cache(maxsize=10_000)
def parse_text(source: str) -> ParsedText:
    """Read a text, once for all its uses.

    Raises
    ------
    RuleError
        If it contains anything but variables and the filters that are allowed, with the position.
    """
    if len(source) > MAX_CHARS:
        raise RuleError(f"the text has {len(source)} characters; at most {MAX_CHARS} are taken")
    for sign in ("{%", "{#"):
        if sign in source:
            line, column = position(source, source.index(sign))
            raise RuleError(
                f"{sign!r} is not taken: a text holds only variables such as {{{{ customer.first_name }}}}",
                line,
                column,
            )
    if "{{" not in source:
        return ParsedText(source)
    return _Reader(re.sub(r"\r\n?", "\n", source)).read()


def plain_value(value: Any) -> str | float | int | bool | list[str] | None:
    """A value as texts may show it; ``None`` if there is nothing to show.

    Shown are words, finite numbers, truth values and lists of them; not objects, and not lists inside lists.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)[:MAX_VALUE_CHARS] if value.strip() else None
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        found = [plain_value(item) for item in value[:MAX_VARIABLES] if not isinstance(item, list | tuple)]
        return [format_value(item)[:MAX_VALUE_CHARS] for item in found if item is not None] or None
    return None


def format_value(value: Any) -> str:
    """A plain value as it is read: numbers without needless digits, lists with commas."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}" if abs(value) < 1e15 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None or isinstance(value, Undefined) else str(value)


def _round(value: Any, digits: int = 0) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return round(float(value), digits)


def _default(value: Any, text: str, _always: bool = True) -> Any:
    return value if format_value(value) else text


def _join(value: Any, separator: str = ", ") -> str:
    return separator.join(value) if isinstance(value, list) else format_value(value)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "upper": lambda value: format_value(value).upper(),
    "lower": lambda value: format_value(value).lower(),
    "title": lambda value: do_title(format_value(value)),
    "capitalize": lambda value: do_capitalize(format_value(value)),
    "round": _round,
    "default": _default,
    "join": _join,
}


def _unless_fallback(change: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(change)
    def changed(value: Any, *arguments: Any) -> Any:
        return value if isinstance(value, _Fallback) else change(value, *arguments)

    return changed


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with nothing in it: what is let through needs neither attributes nor calls."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False


def _environment() -> _Environment:
    environment = _Environment(keep_trailing_newline=True, finalize=format_value, autoescape=False)
    environment.globals.clear()
    environment.tests.clear()
    environment.filters = {name: _unless_fallback(change) for name, change in FILTERS.items()}
    return environment


_ENVIRONMENT = _environment()


class _Reader:
    """Reads one text."""

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
            line, column = self._where(getattr(error, "lineno", 1))
            raise RuleError(f"this cannot be read: {error.message}", line, column) from None
        except (RecursionError, ValueError, OverflowError):
            line, column = self._where(1)
            raise RuleError(
                "this cannot be read: it is too deep, or a number too long", line, column
            ) from None

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
        if names[0] not in ROOTS or len(names) < 2:
            raise RuleError(
                f"{path!r} is not a variable: variables start with {', '.join(f'{r}.' for r in ROOTS)}",
                line,
                column,
            )
        self._uses.append(VariableUse(path, line, column, guarded))
        return nodes.Name(self._names.setdefault(path, f"v{len(self._names)}"), "load", lineno=node.lineno)

    def _check_filter(self, node: nodes.Filter) -> None:
        line, column = self._where(node.lineno, rf"(?<!\w){re.escape(node.name)}(?!\w)")
        if node.name not in FILTERS:
            raise RuleError(
                f"there is no filter {node.name!r}; there are {', '.join(sorted(FILTERS))}", line, column
            )
        constants = [a.value if isinstance(a, nodes.Const) else None for a in node.args]
        if node.kwargs or node.dyn_args or node.dyn_kwargs or not _usable(node.name, constants):
            raise RuleError(f"the filter {node.name!r} is written {_WRITTEN[node.name]}", line, column)

    def _refused(self, node: nodes.Node) -> RuleError:
        line, column = self._where(node.lineno)
        return RuleError(
            "only variables, with filters, are taken: {{ customer.first_name }} or {{ customer.first_name | title }}",
            line,
            column,
        )

    def _where(self, line: int, pattern: str = r"\{\{") -> tuple[int, int]:
        """Line and column of what matches, from ``line`` on; the start of that line if nothing does."""
        start = sum(len(text) + 1 for text in self._source.split("\n")[: line - 1])
        found = re.compile(pattern).search(self._source, start)
        return position(self._source, found.start() if found else start)


_WRITTEN: Mapping[str, str] = {
    "default": "default('text')",
    "join": "join or join(', ')",
    "round": "round or round(2), with at most 10 digits",
    **dict.fromkeys(("upper", "lower", "title", "capitalize"), "without arguments"),
}


def _usable(name: str, constants: list[Any]) -> bool:
    """Whether a filter can be used with these arguments; ``None`` stands for what is not a constant."""
    if name == "default":
        return bool(constants) and _literal(constants[0]) and constants[1:] in ([], [True], [False])
    if name == "join":
        return not constants or (len(constants) == 1 and _literal(constants[0]))
    if name == "round":
        return not constants or (len(constants) == 1 and _digits(constants[0]))
    return not constants


def _digits(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 10


def _literal(value: Any) -> bool:
    """Whether it is a text that every store can keep."""
    if not isinstance(value, str) or "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _path(node: nodes.Node) -> tuple[str, ...] | None:
    """The names of a dotted path; ``None`` if it is anything else."""
    names: list[str] = []
    while isinstance(node, nodes.Getattr):
        names.append(node.attr)
        node = node.node
    return (node.name, *reversed(names)) if isinstance(node, nodes.Name) else None


def _root(node: nodes.Node) -> nodes.Node:
    while isinstance(node, nodes.Getattr):
        node = node.node
    return node
