"""Firings: that a trigger has fired for a customer, once for each occasion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from decisioning.catalog.catalogue import Catalogue
from decisioning.decide.policy_runner import assign_holdouts
from decisioning.model.trigger import Trigger

FiringStatus = Literal["due", "decided", "delivered", "nothing", "dropped", "failed"]
OPEN: tuple[FiringStatus, ...] = ("due", "decided")
"""The statuses of firings with which something is still to be done."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The part of a firing that reports on hold-outs keep, the same for customers who are held out and for all others.

    ``held``: the hold-outs that the customer is in. ``placement`` and ``channel``: ``None`` if several are compared, as
    what is offered tells then where the decision is made. ``decides``: one is made there, whatever is offered.
    """

    held: tuple[str, ...]
    placement: str | None = None
    channel: str | None = None
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing. Times are Unix milliseconds.

    ``occasion``: what makes it the one that it is, among those of the same trigger and customer: a trigger never fires
    twice for one. ``cause``: what led to it, for people to see, without personal properties.
    ``counted``: what reports on hold-outs keep of it; ``None`` if they do not count it. ``dropped``: why nothing is to
    become of it; then they do not count it either.
    """

    trigger_id: str
    catalogue_version: int
    customer_id: str
    occasion: str
    cause: Mapping[str, Any]
    fired_at_ms: int
    deadline_at_ms: int
    counted: Counted | None = None
    dropped: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A firing that there is if the condition holds, and the trigger has not fired for the customer lately."""

    trigger: Trigger
    customer_id: str
    occasion: str
    cause: Mapping[str, object]
    fired_at_ms: int


def firing_of(candidate: Candidate, catalogue: Catalogue) -> Firing:
    """Make the firing of a candidate, by the catalogue that its trigger is of."""
    return Firing(
        candidate.trigger.trigger_id,
        catalogue.version,
        candidate.customer_id,
        candidate.occasion,
        candidate.cause,
        candidate.fired_at_ms,
        candidate.fired_at_ms + candidate.trigger.within_s * 1000,
        counted_of(candidate, catalogue),
    )


def counted_of(candidate: Candidate, catalogue: Catalogue) -> Counted | None:
    """Return what reports on hold-outs keep of a firing, which depends on nothing that is offered.

    ``None`` without hold-outs, and for a trigger on an outcome: only who was offered something has outcomes.
    """
    trigger = candidate.trigger
    if not catalogue.holdouts or trigger.on.outcome is not None:
        return None
    held = assign_holdouts(candidate.customer_id, catalogue.holdouts.values(), candidate.fired_at_ms)
    choices = [choice for choice in trigger.choices if choice.placement in catalogue.views]
    if len(choices) != 1:
        return Counted(held)
    (choice,) = choices
    channel = catalogue.views[choice.placement].placement.channel
    return Counted(held, choice.placement, channel, decides=not choice.cost)
