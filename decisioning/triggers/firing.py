"""Firings: that a trigger has fired for a customer, once for each occasion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from decisioning.model.trigger import Trigger

FiringStatus = Literal["due", "decided", "delivered", "nothing", "dropped", "failed"]
OPEN: tuple[FiringStatus, ...] = ("due", "decided")
"""The statuses of firings with which something is still to be done."""


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing. Times are Unix milliseconds.

    ``occasion``: what makes it the one that it is, among those of the same trigger and customer: a trigger never fires
    twice for one. ``cause``: what led to it, for people to see, without personal properties. ``dropped``: why
    nothing is to become of it.
    """

    trigger_id: str
    catalogue_version: int
    customer_id: str
    occasion: str
    cause: Mapping[str, Any]
    fired_at_ms: int
    deadline_at_ms: int
    dropped: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A firing that there is if the condition holds, and the trigger has not fired for the customer lately."""

    trigger: Trigger
    customer_id: str
    occasion: str
    cause: Mapping[str, object]
    fired_at_ms: int


def firing_of(candidate: Candidate, version: int) -> Firing:
    """Make the firing of a candidate, by a version of the catalogue."""
    return Firing(
        candidate.trigger.trigger_id,
        version,
        candidate.customer_id,
        candidate.occasion,
        candidate.cause,
        candidate.fired_at_ms,
        candidate.fired_at_ms + candidate.trigger.within_s * 1000,
    )
