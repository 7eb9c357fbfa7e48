"""A request, and what becomes of it on its way to an answer."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bandits.policy import NO_FACTS, Facts
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.history import Contact
from decisioning.decide.assignment import Assignment
from decisioning.decide.ranking import SelectionContext
from decisioning.model.decision import Decision
from decisioning.model.degraded import DegradedReason
from decisioning.model.selection import Selection
from decisioning.model.weights import Weights
from profiles.customer import Profile
from rules.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class Request:
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


@dataclass(slots=True)
class Work:
    """One request on its way."""

    request: Request
    view: PlacementView
    catalogue: Catalogue
    decision_id: str
    now_ms: int
    role: Assignment
    facts: Facts = field(default_factory=lambda: NO_FACTS)
    profile: Profile = field(init=False)
    evaluation: Evaluation = field(init=False)
    weights: Weights = field(init=False)
    selection_context: SelectionContext = field(init=False)
    selection: Selection | None = None
    history: Sequence[Contact] | None = None
    exhausted: frozenset[int] = frozenset()
    degraded: list[DegradedReason] = field(default_factory=list)
    writing: "tuple[asyncio.Task[Any], Decision] | None" = None

    @property
    def slots(self) -> int:
        """How many offers are to be chosen at most."""
        placement = self.view.placement
        return min(self.request.limit or placement.slots, placement.slots)

    def degrade(self, reason: DegradedReason) -> None:
        """Note what could not be used, once."""
        if reason not in self.degraded:
            self.degraded.append(reason)
