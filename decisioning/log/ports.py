"""The log as services need it. The stores implement these protocols."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.history import Contact
from decisioning.log.store_redis import NO_CONTACTS, Contacts, DecideReply, ReadReply
from decisioning.model.decision import Decision, LoggedDecision
from decisioning.model.outcome import NOTHING_FOLLOWS, Consequences, Outcome
from decisioning.model.selection import Selection
from profiles.customer import Customer


class CustomerReading(Protocol):
    """The part of the log by which a customer is read. Raises ``RedisUnavailable`` if Redis does not answer."""

    async def read(
        self,
        customer_id: str,
        with_history: bool,
        own_id: str | None = None,
        window_ms: int = 0,
        with_events: bool = False,
    ) -> ReadReply: ...


class DecisionLog(CustomerReading, Protocol):
    """The hot side of the log. Every method raises ``RedisUnavailable`` if Redis does not answer."""

    async def read_household(self, household_id: str, decision_id: str, now_ms: int) -> list[Contact]: ...

    async def resolve(self, customer_id: str) -> str: ...

    async def reassign(self, customer_id: str, own_id: str, window_ms: int) -> None: ...

    def decide(
        self,
        decision: Decision,
        selection: Selection,
        view: PlacementView,
        customer: Customer,
        before_ms: int | None = None,
        attempt: str = "",
    ) -> "asyncio.Task[DecideReply]": ...

    async def claim(self, customer_id: str, decision_id: str) -> tuple[str, Decision | None]: ...

    async def withdraw(
        self,
        customer_id: str,
        decision_id: str,
        decided_at_ms: int,
        now_ms: int,
        attempt: str = "",
        household_id: str | None = None,
    ) -> None: ...

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
        follows: Consequences = NOTHING_FOLLOWS,
    ) -> tuple[str, str]: ...

    async def append(
        self,
        bucket: int,
        mark: str,
        records: Sequence[Sequence[str | bytes]],
        contacts: Contacts = NO_CONTACTS,
    ) -> bool: ...

    async def waiting(self, bucket: int, decision_id: str) -> dict[str, bytes]: ...


class Archive(Protocol):
    """The log's archived part. Methods raise ``PostgresUnavailable`` if Postgres does not answer."""

    async def decision(self, decision_id: str) -> LoggedDecision | None: ...

    async def outcomes(self, decision_id: str, decided_at_ms: int | None = None) -> list[Outcome]: ...
