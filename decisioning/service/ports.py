"""What the services need of the world. The stores implement these."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from decisioning.catalog.view import PlacementView
from decisioning.engine import Choice, Selection
from decisioning.records import Decided, Header, Outcome
from decisioning.stores.capacity import NOTHING, Taken
from decisioning.stores.log import NO_CONTACTS, Contacts, DecideReply, ReadReply
from profiles.customer import Customer, Profile


class DecisionLog(Protocol):
    """The hot side of the log. Every method raises ``RedisUnavailable`` if Redis does not answer."""

    async def read(self, customer_id: str, with_history: bool, own_id: str | None) -> ReadReply: ...

    def decide(
        self,
        header: Header,
        selection: Selection,
        view: PlacementView,
        customer: Customer,
        before_ms: int | None = None,
    ) -> "asyncio.Task[DecideReply]": ...

    async def withdraw(self, customer_id: str, decision_id: str, decided_at_ms: int, now_ms: int) -> None: ...

    async def bucket_of(self, decision_id: str) -> int | None: ...

    async def feedback(
        self,
        bucket: int,
        decision_id: str,
        offer_id: str,
        outcome: str,
        value: float | None,
        at_ms: int,
        now_ms: int,
        skew_ms: int,
    ) -> tuple[str, str]: ...

    async def append(
        self,
        bucket: int,
        mark: str,
        records: Sequence[Sequence[str | bytes]],
        contacts: Contacts = NO_CONTACTS,
    ) -> bool: ...

    async def waiting(self, bucket: int, decision_id: str) -> dict[str, bytes]: ...


class Units(Protocol):
    """Capacity, as far as this process holds it."""

    def exhausted(self, view: PlacementView, now_ms: int) -> frozenset[int]:
        """Numbers of the view's offers of which nothing is left."""
        ...

    def withheld(self, view: PlacementView) -> frozenset[int]:
        """Numbers of the view's offers that must not be in an answer that is not logged."""
        ...

    async def take(self, view: PlacementView, choices: Sequence[Choice], now_ms: int) -> Taken:
        """Units for all choices, or none and the row that lacks one. Must be followed by ``done``."""
        ...

    def done(self, taken: Taken, write: "asyncio.Task[DecideReply]") -> None:
        """The write of the decision has ended, in whatever way."""
        ...


class NoUnits:
    """A catalogue in which nothing has a capacity."""

    def exhausted(self, view: PlacementView, now_ms: int) -> frozenset[int]:
        """None."""
        return frozenset()

    def withheld(self, view: PlacementView) -> frozenset[int]:
        """None."""
        return frozenset()

    async def take(self, view: PlacementView, choices: Sequence[Choice], now_ms: int) -> Taken:
        """Nothing is needed."""
        return NOTHING

    def done(self, taken: Taken, write: "asyncio.Task[DecideReply]") -> None:
        """Nothing was taken."""


class ProfileSource(Protocol):
    """Where profiles come from when the cache does not have them."""

    def decode(self, blob: bytes) -> Profile | None:
        """A cached profile; ``None`` if the blob is a tombstone or cannot be read."""
        ...

    async def load(self, customer_id: str, *, fill: bool) -> Profile:
        """From Postgres; with ``fill`` it is cached in the background. Raises ``PostgresUnavailable``."""
        ...


class Archive(Protocol):
    """The log's archived part. Methods raise ``PostgresUnavailable`` if Postgres does not answer."""

    async def decision(self, decision_id: str) -> Decided | None: ...

    async def outcomes(self, decision_id: str) -> list[Outcome]: ...
