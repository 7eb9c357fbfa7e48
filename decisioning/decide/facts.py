"""What rules may know of a request: the customer with attributes and indicators at the first level, and the context."""

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from decisioning.model.entities import Placement
from profiles.customer import Customer
from rules.evaluation import Facts


def facts_of(customer: Customer, context: Mapping[str, Any], placement: Placement) -> Facts:
    """The facts of one request. An indicator hides an attribute of the same name."""
    return {
        "customer": {
            **customer.attributes,
            **customer.indicators,
            "interests": customer.interests,
            "holdings": customer.holdings,
            "customer_id": customer.customer_id,
            "known": customer.known,
        },
        "context": {**context, "channel": placement.channel, "placement": placement.placement_id},
    }


MOST_TEXT = 200
MOST_ITEMS = 64


def learnable(facts: Facts, paths: Iterable[str]) -> dict[str, Any]:
    """Those of a request's ``facts`` under ``paths`` that are known: what is logged, and what policies learn from.

    As plain JSON: numbers, truth values and texts; lists of texts; mappings of texts to numbers. Long ones are cut,
    others left out.
    """
    found = {}
    for path in paths:
        value: Any = facts
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        plain = _plain(value)
        if plain is not None:
            found[path] = plain
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MOST_TEXT]
    if isinstance(value, int):
        return value if abs(value) < 2**53 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [item[:MOST_TEXT] for item in value[:MOST_ITEMS] if isinstance(item, str)]
    if isinstance(value, Mapping):
        numbers = (
            (key, number)
            for key, number in sorted(value.items())
            if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
        )
        return dict(islice(numbers, MOST_ITEMS))
    return None
