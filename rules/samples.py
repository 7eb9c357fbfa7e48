"""Made-up values, to try an expression out before it is saved."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import cel

from rules.vocabulary import Vocabulary

_SAMPLES: Mapping[str, Any] = {
    "string": "x",
    "number": 1.0,
    "int": 1,
    "bool": True,
    "list": ["x"],
    "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
}


def sample_context(paths: Iterable[str], segments: Iterable[str], vocabulary: Vocabulary) -> Any:
    """Make up values for everything that an expression refers to."""
    roots: dict[str, dict[str, Any]] = {"customer": {}, "context": {}, "offer": {}}
    for path in set(paths) - {"now"}:
        root, *names = path.split(".")
        place = roots[root]
        for name in names[:-1]:
            place = place.setdefault(name, {})
        attribute = vocabulary.attributes[path]
        sample = attribute.values[0] if attribute.values else _SAMPLES[attribute.type]
        place[names[-1]] = [sample] if attribute.type == "list" and attribute.values else sample
    context = cel.Context()
    for root, values in roots.items():
        context.add_variable(root, values)
    context.add_variable("now", datetime(2026, 1, 1, tzinfo=UTC))
    context.add_variable("segment", dict.fromkeys(segments, True))
    return context
