"""Services in the process of a test, on an installation's real stores, with parts of them replaced."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.state import ApiState, open_state
from decisioning.decide.service import DecisionService
from decisioning.decide.store_profiles import CachedProfiles
from decisioning.log.feedback_service import FeedbackService
from decisioning.policies.roster import Roster
from storage.clock import now_ms
from tests.support.installation import Installation

__all__ = ["decision_service", "feedback_service", "state_of"]


@asynccontextmanager
async def state_of(installation: Installation) -> AsyncIterator[ApiState]:
    """Open the state that an API process holds."""
    async with open_state(installation.settings) as state:
        yield state


def decision_service(
    state: ApiState,
    *,
    decision_log: Any = None,
    roster: Roster | None = None,
    clock: Callable[[], int] = now_ms,
    entropy: Callable[[], bytes] | None = None,
) -> DecisionService:
    """The service of ``state`` with some of its parts replaced."""
    numbers = iter(range(1, 10**9))
    return DecisionService(
        catalogue=state.current_catalogue,
        replica=state.replica,
        roster=roster or state.roster,
        decision_log=decision_log or state.decision_log,
        archive=state.archive,
        profiles=CachedProfiles(state.profiles, state.numbers),
        keys=state.keys,
        clock_ms=clock,
        entropy=entropy or (lambda: next(numbers).to_bytes(16, "big")),
    )


def feedback_service(state: ApiState, clock: Callable[[], int]) -> FeedbackService:
    """The service of ``state`` with another clock."""
    return FeedbackService(state.decision_log, state.archive, clock)
