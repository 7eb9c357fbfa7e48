"""Protocols of the parts outside of this room that a decision needs. The stores implement these."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from decisioning.capacity.lease import Reservation
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.ranking import Units
from decisioning.log.ports import DecideReply
from decisioning.model.selection import Choice, UnitPrice
from profiles.customer import Profile


class CapacityReservations(Protocol):
    """Capacity, as far as this process holds it."""

    def exhausted(self, view: PlacementView, now_ms: int) -> frozenset[int]:
        """Numbers of the view's offers of which nothing is left."""
        ...

    def withheld(self, view: PlacementView) -> frozenset[int]:
        """Numbers of the view's offers that must not be in an answer that is not logged."""
        ...

    def prices(self, view: PlacementView, now_ms: int) -> tuple[UnitPrice, ...]:
        """Prices of units that are kept for value."""
        ...

    async def units(self, view: PlacementView, slots: int, now_ms: int) -> Units:
        """Units left of the capacities that have fewer than an answer of so many slots may need."""
        ...

    async def take(self, view: PlacementView, choices: Sequence[Choice], now_ms: int) -> Reservation:
        """Units for all choices, or none and the row that lacks one. Must be followed by ``done``."""
        ...

    def done(self, taken: Reservation, write: "asyncio.Task[DecideReply]") -> None:
        """The write of the decision has ended, in whatever way."""
        ...


class ProfileSource(Protocol):
    """The source of profiles that the cache does not have."""

    async def load(self, customer_id: str, *, fill: bool) -> Profile:
        """From Postgres; with ``fill`` it is cached in the background. Raises ``PostgresUnavailable``.

        For a visitor who is an alias it is the customer's, and says so.
        """
        ...
