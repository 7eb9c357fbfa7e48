"""What rules may know of a request: the customer with attributes and indicators at the first level, and the context."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from decisioning.catalog.model import Placement
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


def instant(at_ms: int) -> datetime:
    """A time in Unix milliseconds as rules see it: ``now``, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000.0, UTC)
