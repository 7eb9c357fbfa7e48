"""Steps that all mappings share: properties made flat, names made ids."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from profiles.events.event_type import MAX_ITEMS, MAX_NUMBER, MAX_TEXT_CHARS

MAX_DEPTH = 5
_OTHER = re.compile(r"[^A-Za-z0-9]+")
_INNER_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def type_of_name(name: str) -> str:
    """Make the id of a type of a name for people: ``order_completed`` of ``Order Completed`` or ``orderCompleted``."""
    return _OTHER.sub("_", _INNER_CAPITAL.sub("_", name)).strip("_").lower()


def flat_properties(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make properties flat and small enough.

    What is nested is named with underscores (``address_city``); lists keep their scalars; texts and lists are cut, and
    numbers too large become texts; nulls and empty lists are left out.
    """
    return dict(_flat(values, "", 0))


def _flat(values: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            if depth < MAX_DEPTH:
                yield from _flat(value, f"{path}_", depth + 1)
        elif isinstance(value, list):
            scalars = [_scalar(item) for item in value[:MAX_ITEMS] if not isinstance(item, Mapping | list)]
            known = [item for item in scalars if item is not None]
            if known:
                yield path, known
        elif value is not None:
            yield path, _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MAX_TEXT_CHARS]
    if isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) <= MAX_NUMBER:
        return str(value)
    return value


def first_of(values: Mapping[str, Any], *names: str) -> Any:
    """Return the first value that is there and not empty; ``None`` if none is."""
    return next((values[name] for name in names if values.get(name) not in (None, "")), None)


def without_nulls(**fields: Any) -> dict[str, Any]:
    """Return the fields that are known: of the others it is said that they are missing."""
    return {name: value for name, value in fields.items() if value is not None}
