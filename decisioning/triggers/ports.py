"""Protocols of what a firing needs from outside of this room."""

from collections.abc import Mapping
from typing import Any, Protocol

from decisioning.decide.context import DecisionInputs
from decisioning.model.trigger import TriggerDelivery
from decisioning.triggers.delivery import OpenFiring, Progress
from profiles.customer import Profile


class NotTaken(Exception):
    """A delivery was not taken. The message says why, without secrets and without the answer of who refused it."""


class Decider(Protocol):
    """The path of a decision."""

    async def decide(self, request: DecisionInputs) -> dict[str, Any]:
        """Answer a request."""
        ...


class Profiles(Protocol):
    """The source of profiles."""

    async def load(self, customer_id: str, *, fill: bool) -> Profile:
        """Load a profile. Raises ``PostgresUnavailable``."""
        ...


class Keeper(Protocol):
    """Keeps what firings have come to."""

    async def keep(self, progress: Progress, now_ms: int) -> bool:
        """Keep progress. False if the firing is another worker's by now. Raises ``PostgresUnavailable``."""
        ...

    async def holds(self, firing: OpenFiring) -> bool:
        """Return false if a firing is another worker's by now, or gone. Raises ``PostgresUnavailable``."""
        ...


class Sender(Protocol):
    """Sends what was decided."""

    async def send(self, to: TriggerDelivery, message_id: str, message: Mapping[str, Any]) -> None:
        """Send a message; returns once it was taken. Raises ``NotTaken``."""
        ...
