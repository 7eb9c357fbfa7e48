"""Contexts of requests: free JSON within bounds, so that it can be logged, and looked at by rules in time."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import to_json

from app.api.schemas import storable
from decisioning.errors import Invalid
from rules.cost import MAX_ITEMS

MAX_CONTEXT_DEPTH = 16
MAX_CONTEXT_ITEMS = MAX_ITEMS
"""Items of one list: so many are reckoned with when a rule is saved."""
MAX_CONTEXT_NAMES = 1000
"""Names of one object."""
MAX_CONTEXT_TEXT_CHARS = 4096


def check_context(context: Mapping[str, Any], limit: int) -> None:
    """Raise ``Invalid``, naming the field, for what is too large, too deep, not finite, or cannot be logged.

    ``limit``: bytes of the form in which it is logged, whatever the spaces in the request.
    """
    try:
        size = len(to_json(context))
    except ValueError as error:
        raise Invalid("context", str(error)) from None
    if size > limit:
        raise Invalid("context", f"has {size} bytes; at most {limit} are taken")
    _check_value(context, "context", 0)


def check_reasons(
    context: Mapping[str, Any], paths: Iterable[Sequence[str]], reasons: Collection[str]
) -> None:
    """Raise ``Invalid``, naming the field, for a reason that the catalogue does not declare.

    ``paths``: where reasons are named, below the context.
    """
    for path in paths:
        value: Any = context
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        for told in value if isinstance(value, list) else [value]:
            if told is not None and told not in reasons:
                near = get_close_matches(str(told), reasons, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]!r}?" if near else "GET /v1/reasons lists them"
                raise Invalid(".".join(("context", *path)), f"there is no reason {told!r}; {hint}")


def _check_value(value: Any, path: str, depth: int) -> None:
    if depth > MAX_CONTEXT_DEPTH:
        raise Invalid("context", f"is nested more than {MAX_CONTEXT_DEPTH} levels deep")
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float):
        if value - value != 0:  # NaN for infinities and NaN
            raise Invalid("context", f"numbers must be finite, and {path} is not")
    elif isinstance(value, Mapping):
        if len(value) > MAX_CONTEXT_NAMES:
            raise Invalid(path, f"has {len(value)} names; at most {MAX_CONTEXT_NAMES} are taken")
        for key, item in value.items():
            _check_text(key, path)
            _check_value(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        if len(value) > MAX_CONTEXT_ITEMS:
            raise Invalid(path, f"has {len(value)} items; at most {MAX_CONTEXT_ITEMS} are taken")
        for i, item in enumerate(value):
            _check_value(item, f"{path}.{i}", depth + 1)


def _check_text(value: str, path: str) -> None:
    if len(value) > MAX_CONTEXT_TEXT_CHARS:
        raise Invalid(path, f"has {len(value)} characters; at most {MAX_CONTEXT_TEXT_CHARS} are taken")
    try:
        storable(value)
    except ValueError as error:
        raise Invalid("context", str(error)) from None
