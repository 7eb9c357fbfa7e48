"""Firings: that a trigger has fired for a customer, once for each occasion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FiringStatus = Literal["due", "decided", "delivered", "nothing", "dropped", "failed"]
OPEN: tuple[FiringStatus, ...] = ("due", "decided")
"""The statuses of firings with which something is still to be done."""


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing. Times are Unix milliseconds.

    ``occasion``: what makes it the one that it is, among those of the same trigger and customer: a trigger never fires
    twice for one. ``cause``: what led to it, for people to see, without personal properties.
    """

    trigger_id: str
    catalogue_version: int
    customer_id: str
    occasion: str
    cause: Mapping[str, Any]
    fired_at_ms: int
    deadline_at_ms: int
