"""Values of classified attributes, left out of what is shown. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rules.vocabulary import Attribute, Classification

_PARTS = {"attributes": "customer", "indicators": "customer", "customer": "customer", "context": "context"}
"""Names of objects in documents whose fields are attributes, and the root of these."""


def classified(attributes: Iterable[Attribute], *classes: Classification) -> frozenset[str]:
    """Return the paths of the attributes that have one of some classes."""
    return frozenset(attribute.path for attribute in attributes if attribute.classification in classes)


def without(document: Any, paths: Collection[str], root: str = "") -> Any:
    """Return a JSON document without the values at ``paths``, under their full path or in an object of their root.

    ``root``: the path of the document itself, where its fields are attributes.
    """
    if not paths:
        return document
    if isinstance(document, Mapping):
        kept = {}
        for name, value in document.items():
            path = f"{root}.{name}" if root else str(name)
            if path not in paths:
                kept[name] = without(value, paths, path if root else _PARTS.get(name, ""))
        return kept
    if isinstance(document, (list, tuple)):
        return [without(value, paths) for value in document]
    return document
