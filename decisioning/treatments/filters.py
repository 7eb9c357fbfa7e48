"""Values as texts show them, and the filters that may be put on variables."""

import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from jinja2 import Undefined
from jinja2.filters import do_capitalize, do_title

MAX_VALUE_CHARS = 1000
MAX_LIST_ITEMS = 50


class FallbackText(str):
    """A text that filters leave alone."""

    __slots__ = ()


def plain_value(value: Any) -> str | float | int | bool | list[str] | None:
    """Return a value as texts may show it; ``None`` if there is nothing to show.

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
        found = [plain_value(item) for item in value[:MAX_LIST_ITEMS] if not isinstance(item, list | tuple)]
        return [format_value(item)[:MAX_VALUE_CHARS] for item in found if item is not None] or None
    return None


def format_value(value: Any) -> str:
    """Write a plain value for people: numbers without needless digits, lists with commas."""
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
    # Whole numbers are round, and a float would change those beyond 2^53.
    return value if isinstance(value, int) else round(value, digits)


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


def unless_fallback(change: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter that leaves fallbacks alone."""

    @wraps(change)
    def changed(value: Any, *arguments: Any) -> Any:
        return value if isinstance(value, FallbackText) else change(value, *arguments)

    return changed


FILTER_USAGE: Mapping[str, str] = {
    "default": "default('text')",
    "join": "join or join(', ')",
    "round": "round or round(2), with at most 10 digits",
    **dict.fromkeys(("upper", "lower", "title", "capitalize"), "without arguments"),
}
"""The right use of each filter, for messages."""


def takes_arguments(name: str, constants: list[Any]) -> bool:
    """Return whether a filter can be used with these arguments; ``None`` stands for what is not a constant."""
    if name == "default":
        return bool(constants) and _literal(constants[0]) and constants[1:] in ([], [True], [False])
    if name == "join":
        return not constants or (len(constants) == 1 and _literal(constants[0]))
    if name == "round":
        return not constants or (len(constants) == 1 and _digits(constants[0]))
    return not constants


def _digits(value: Any) -> bool:
    # Not isinstance: true and false are integers in Python.
    return type(value) is int and 0 <= value <= 10


def _literal(value: Any) -> bool:
    """Return whether it is a text that every store can keep."""
    if not isinstance(value, str) or "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
