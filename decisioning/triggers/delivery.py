"""The fate of a firing: values, and when a delivery that failed is tried again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from decisioning.model.deciders import FIRING_PREFIX
from decisioning.model.trigger import Trigger
from decisioning.triggers.firing import FiringStatus

FIRST_PAUSE_MS = 1_000
MAX_PAUSE_MS = 300_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The placements that are asked, in this order. ``turn``: how often they have been asked to no avail.

    Kept before the first of them is asked: whoever continues asks the same ones, under the same ids of decisions,
    also if the trigger was edited meanwhile.
    """

    placements: tuple[str, ...]
    turn: int = 0

    def decision_id(self, firing_id: str, placement: str) -> str:
        """Return the id of the decision for a placement: the same however often it is asked for.

        ``store_firings`` notes the one of the first turn.
        """
        return f"{FIRING_PREFIX}{firing_id}:{self.turn}:{placement}"

    def as_json(self) -> dict[str, Any]:
        """Return the form that is kept."""
        return {"plan": list(self.placements), "turn": self.turn}


def plan_of(trigger: Trigger) -> Plan | None:
    """Return the plan of a trigger with one placement without a cost; ``None`` if there is something to compare."""
    match trigger.choices:
        case [choice] if not choice.cost:
            return Plan((choice.placement,))
    return None


@dataclass(frozen=True, slots=True)
class OpenFiring:
    """A firing that a worker has taken up, at its try number ``attempts``; it is another's at ``lease_until_ms``.

    ``earlier_attempts``: as many of these were before it was sent again by hand.
    Times are Unix milliseconds. ``chosen``: the plan while it is ``due``, what was decided when it is ``decided``.
    """

    firing_id: str
    trigger_id: str
    customer_id: str
    cause: Mapping[str, Any]
    fired_at_ms: int
    deadline_at_ms: int
    status: FiringStatus
    status_reason: str | None
    decision_id: str | None
    chosen: Mapping[str, Any] | None
    attempts: int
    lease_until_ms: int
    earlier_attempts: int = 0

    @property
    def plan(self) -> Plan | None:
        """The plan that was kept; ``None`` if there is none yet."""
        if self.status != "due" or self.chosen is None:
            return None
        return Plan(tuple(self.chosen["plan"]), self.chosen["turn"])

    def with_plan(self, plan: Plan) -> "OpenFiring":
        """Return the firing with a plan."""
        return replace(self, chosen=plan.as_json())


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a firing: what it has come to, and when it is taken up again (``None``: never)."""

    firing: OpenFiring
    status: FiringStatus
    reason: str | None = None
    decision_id: str | None = None
    chosen: Mapping[str, Any] | None = None
    next_attempt_ms: int | None = None


def pause_ms(attempts: int, spread: float) -> int:
    """Return how long to wait after the failed try number ``attempts``: twice as long each time, up to 5 minutes.

    ``spread`` (0 to 1, at random) takes away up to a half, so that not all are tried again at one moment.
    """
    longest = min(FIRST_PAUSE_MS << min(attempts - 1, 20), MAX_PAUSE_MS)
    return round(longest * (1 - spread / 2))


def put_off(progress: Progress, now_ms: int, spread: float) -> Progress:
    """Return the progress of a try that failed: tried again after a pause, or given up if that is too late."""
    firing = progress.firing
    next_ms = now_ms + pause_ms(firing.attempts - firing.earlier_attempts, spread)
    if next_ms >= firing.deadline_at_ms:
        return replace(progress, status="failed" if progress.status == "decided" else "dropped")
    return replace(progress, next_attempt_ms=next_ms)


def message_of(firing: OpenFiring, chosen: Mapping[str, Any], fired_at: str) -> dict[str, Any]:
    """Return what is delivered: the same in every try, but for offers that must not be sent any more.

    ``fired_at``: ISO 8601; ``chosen``: what was decided.
    """
    return {
        "type": "trigger.fired",
        "timestamp": fired_at,
        "data": {
            "firing_id": firing.firing_id,
            "trigger": firing.trigger_id,
            "customer_id": firing.customer_id,
            "cause": dict(firing.cause),
            **chosen,
        },
    }
