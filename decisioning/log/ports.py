"""The log as services need it, and what it replies. The stores implement these protocols."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from decisioning.catalog.placement_view import PlacementView
from decisioning.model.decision import Contact, Decision, LoggedDecision
from decisioning.model.outcome import NOTHING_FOLLOWS, Consequences, Outcome
from decisioning.model.selection import Selection
from profiles.customer import Customer
from storage.errors import RedisUnavailable


@dataclass(frozen=True, slots=True)
class ReadReply:
    """The reply to one read: the cached profile, the contact history, and an earlier decision under the same id.

    ``events``: what events told, if that was asked for, and there is anything.
    ``here``: the earlier decision is in Redis. Its header (``earlier``) may be in the archive only. ``withdrawn``: the
    earlier decision was taken back not long ago, which the archive may not know yet. ``moved``: the customer of whom
    the one who was asked for is an alias: nothing else that was read counts but what is of the earlier decision.
    """

    profile: bytes | None
    history: list[Contact]
    owner: str | None = None
    earlier: Decision | None = None
    here: bool = False
    withdrawn: bool = False
    events: bytes | None = None
    moved: str | None = None


@dataclass(frozen=True, slots=True)
class Contacts:
    """Contacts of a customer, ``(time in ms, member)``, to be kept for ``keep_ms`` at least."""

    customer_id: str
    keep_ms: int
    members: Sequence[tuple[int, str]]


NO_CONTACTS = Contacts("", 0, ())


@dataclass(frozen=True, slots=True)
class DecideReply:
    """``written``, or the ``earlier`` decision of the same id, or the offers whose limit was ``reached`` meanwhile.

    ``here``: there is an earlier decision of the same id, whose header may be in the archive only. ``lapsed``: it came
    too late for the units of capacity that it was to use, and was not written. ``lost``: an offer has a limit, and
    Redis has lost contacts that are still to be put back. ``moved``: it was not written, since its customer has become
    an alias of that one.
    """

    written: bool
    earlier: Decision | None = None
    here: bool = False
    reached: tuple[str, ...] = ()
    lapsed: bool = False
    lost: bool = False
    moved: str | None = None


class TellOutcome(NamedTuple):
    """An outcome to be recorded, of a decision in ``bucket``. Times are Unix milliseconds.

    ``skew_ms``: so long before the decision may it have happened, as clocks differ.
    """

    bucket: int
    decision_id: str
    offer_id: str
    outcome: str
    value: float | None
    at_ms: int
    now_ms: int
    skew_ms: int
    follows: Consequences = NOTHING_FOLLOWS


OutcomeReply = tuple[str, str]
"""The status of an outcome that was told, and its detail (see ``nb_feedback``)."""


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

    async def buckets_of(
        self, decision_ids: Iterable[str]
    ) -> Mapping[str, int | RedisUnavailable | None]: ...

    async def feedback(self, told: Sequence[TellOutcome]) -> list[OutcomeReply | RedisUnavailable]: ...

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
