"""Hold-outs as they are declared: customers to whom nothing, or nothing of one goal, is offered. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from decisioning.aggregates.checks import check_event_number
from decisioning.errors import Invalid, MissingThing
from decisioning.model.entities import FOREVER_MS, GOALS, Goal

MAX_SHARE = 0.5
MAX_EVENTS = 20


@dataclass(frozen=True, slots=True)
class HoldoutEvent:
    """Events of a type that are counted for each customer or, with a ``property``, this number in them summed up."""

    event: str
    property: str | None = None

    def label(self) -> str:
        """As reports call it."""
        return self.event if self.property is None else f"{self.event}:{self.property}"


@dataclass(frozen=True, slots=True)
class Holdout:
    """A sticky ``share`` of all customers to whom no offers of ``goal``, or none at all, are made in any placement.

    Offers of ``exempt_goals`` and ``exempt_groups`` are made nevertheless: those that have to be. ``events``: what a
    report compares of that which customers do by themselves.
    """

    holdout_id: str
    share: float
    name: str = ""
    goal: Goal | None = None
    exempt_goals: tuple[Goal, ...] = ()
    exempt_groups: tuple[str, ...] = ()
    events: tuple[HoldoutEvent, ...] = ()
    description: str = ""
    starts_ms: int = 0
    ends_ms: int = FOREVER_MS

    def is_in_force(self, at_ms: int) -> bool:
        """Return whether anybody is held out at a time."""
        return self.starts_ms <= at_ms < self.ends_ms

    def withholds(self, goal: str, group: str) -> bool:
        """Return whether an offer of this goal and group is withheld from those who are held out."""
        if goal in self.exempt_goals or group in self.exempt_groups:
            return False
        return self.goal is None or self.goal == goal


def check_holdout(holdout: Holdout, things: Mapping[str, Mapping[str, Any]]) -> Iterator[Invalid]:
    """Yield what is not right about a hold-out. ``things``: the sections of the catalogue."""
    if not 0 < holdout.share <= MAX_SHARE:
        yield Invalid(
            "share", f"is more than 0 and at most {MAX_SHARE}, such as 0.05; end a hold-out with ends_at"
        )
    if {holdout.goal} <= {*holdout.exempt_goals} or {*GOALS} <= {*holdout.exempt_goals}:
        yield Invalid("exempt_goals", "leaves nothing that is withheld")
    for place, group in enumerate(holdout.exempt_groups):
        if group not in things["groups"]:
            yield MissingThing(f"exempt_groups.{place}", "group", group)
    if len(holdout.events) > MAX_EVENTS:
        yield Invalid("events", f"at most {MAX_EVENTS}, not {len(holdout.events)}")
    for place, counted in enumerate(holdout.events):
        yield from check_event_number(f"events.{place}.", counted.event, counted.property, things)
        if counted in holdout.events[:place]:
            yield Invalid(f"events.{place}", f"{counted.label()!r} is there twice")
