"""A request for a decision, and what is fixed as soon as it comes in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bandits.policy import Facts
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.history import Contact
from decisioning.decide.assignment import Assignment
from decisioning.model.degraded import DegradedReason
from profiles.customer import Profile
from rules.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """A validated request. ``decision_id`` is the caller's own id, if any; ``baseline`` its own choice of offers."""

    customer_id: str
    placement: str
    context: Mapping[str, Any]
    limit: int | None = None
    decision_id: str | None = None
    deadline_ms: int | None = None
    dry_run: bool = False
    explain: bool = False
    baseline: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """One request with its catalogue, time and experiment group; every step of the path is given it.

    ``slots``: the largest number of offers to choose. ``degraded`` is the one thing that grows on the way: a deadline
    may cut the path at any step, and the answer must still tell what had been missing by then.
    """

    request: DecisionRequest
    catalogue: Catalogue
    view: PlacementView
    decision_id: str
    now_ms: int
    assignment: Assignment
    slots: int
    degraded: list[DegradedReason] = field(default_factory=list)

    def degrade(self, reason: DegradedReason) -> None:
        """Note a reason why the answer is not what it should be, once."""
        if reason not in self.degraded:
            self.degraded.append(reason)


@dataclass(frozen=True, slots=True)
class EvaluatedRequest:
    """A request whose rules have been evaluated. ``facts``: what policies learn from, by path."""

    facts: Facts
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class CustomerState:
    """The customer as a decision sees them. ``history``: contacts by time, ``None`` if they cannot be read."""

    profile: Profile
    history: Sequence[Contact] | None
