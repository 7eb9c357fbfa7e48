"""The log's hot side: one read, one write a decision; one write a feedback."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bandits.policy import NO_FACTS
from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.history import Contact
from decisioning.log.codec import (
    base_propensity_text,
    candidate_bytes,
    contact_text,
    decode_decision,
    encode_decision,
    expected_text,
    facts_text,
    parse_history,
)
from decisioning.model.decision import Decision
from decisioning.model.selection import Selection
from profiles.customer import Customer
from storage.clock import DAY_MS
from storage.errors import RedisUnavailable
from storage.keys import Keys, bucket_of_generated
from storage.redis_pipe import Pipe, RedisReplyError

GRACE_MS = DAY_MS
WITHDRAWAL_TTL_MS = DAY_MS
OWNER_TTL_MS = 30 * DAY_MS


@dataclass(frozen=True, slots=True)
class ReadReply:
    """The reply to one read: the cached profile, the contact history, and an earlier decision under the same id."""

    profile: bytes | None
    history: list[Contact]
    owner: str | None = None
    earlier: Decision | None = None


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

    ``lapsed``: it came too late for the units of capacity that it was to use, and was not written. ``lost``: an offer
    has a limit, and Redis has lost contacts that are still to be put back.
    """

    written: bool
    earlier: Decision | None = None
    reached: tuple[str, ...] = ()
    lapsed: bool = False
    lost: bool = False


class RedisLog:
    """Reads and writes what a decision and a feedback need. Methods raise ``RedisUnavailable``."""

    def __init__(self, pipe: Pipe, keys: Keys) -> None:
        self.pipe = pipe
        self.keys = keys

    async def read(self, customer_id: str, with_history: bool, own_id: str | None) -> ReadReply:
        """Read in one round trip: profile, contact history, and for a caller's own id what it named before."""
        bucket = self.keys.bucket(customer_id)
        profile = self.pipe.call("GET", self.keys.profile(customer_id))
        history = owner = earlier = None
        if with_history:
            history = self.pipe.call("ZRANGE", self.keys.contact(customer_id), 0, -1, "WITHSCORES")
        if own_id is not None:
            mine = f"{bucket} {customer_id}"
            owner = self.pipe.call("SET", self.keys.owner(own_id), mine, "NX", "GET", "PX", OWNER_TTL_MS)
            earlier = self.pipe.call("HGET", self.keys.decision(bucket, own_id), "h")
        calls = [c for c in (profile, history, owner, earlier) if c is not None]
        try:
            await calls[-1]  # replies come in order: when the last is here, all are
            replies = [c.result() for c in calls]
        except RedisReplyError as error:
            raise RedisUnavailable(f"redis refused a read: {error}") from error
        finally:
            for call in calls:  # take the exceptions of those that nobody waits for
                if call.done() and not call.cancelled():
                    call.exception()
        contacts = parse_history(history.result()) if history is not None else []
        if own_id is None:
            return ReadReply(replies[0], contacts)
        assert owner is not None
        assert earlier is not None
        known, encoded = owner.result(), earlier.result()
        return ReadReply(
            replies[0],
            contacts,
            None if known is None else known.decode(),
            None if encoded is None else decode_decision(encoded),
        )

    def decide(
        self,
        decision: Decision,
        selection: Selection,
        view: PlacementView,
        customer: Customer,
        before_ms: int | None = None,
    ) -> "asyncio.Task[DecideReply]":
        """Write: check limits, reserve, store the waiting decision, append to the log; all or nothing.

        ``customer``: whose preferences count. ``before_ms``: by the server's clock, when it must not be written any
        more.
        """
        # A task, so that a caller who stops waiting can still learn what became of it.
        return asyncio.ensure_future(self._decide(decision, selection, view, customer, before_ms))

    async def _decide(
        self,
        decision: Decision,
        selection: Selection,
        view: PlacementView,
        customer: Customer,
        before_ms: int | None,
    ) -> DecideReply:
        customer_id, decision_id = decision.customer_id, decision.decision_id
        bucket = self.keys.bucket(customer_id)
        now_ms, until_ms, contacts = decision.decided_at_ms, decision.until_ms, decision.contacts
        assert contacts is not None
        offers: list[Any] = []
        for choice, contact in zip(selection.choices, contacts.offers, strict=True):
            offers += (
                choice.offer.offer_id,
                choice.offer.number,
                base_propensity_text(choice.base_propensity),
                contact_text(contact, decision.channel or ""),
                view.contact.checks(choice.row, customer),
                expected_text(choice.expected, choice.factors.V),
            )
        confirm_ms = contacts.confirm_until_ms
        candidates, base_propensities, factors = candidate_bytes(selection)
        reply = await self._function(
            "nb_decide" if before_ms is None else "nb_decide_within",
            (
                self.keys.decision(bucket, decision_id),
                self.keys.log(bucket),
                self.keys.pending(bucket),
                self.keys.contact(customer_id),
                self.keys.unconfirmed(bucket),
                self.keys.whole(bucket),
            ),
            () if before_ms is None else (before_ms,),
            (decision_id, now_ms, until_ms, until_ms - now_ms + GRACE_MS, contacts.keep_ms),
            (encode_decision(decision), candidates, base_propensities, factors, customer_id),
            (
                decision.policy.key,
                decision.placement,
                decision.presentation,
                "" if confirm_ms is None else confirm_ms,
            ),
            (int(view.placement.without_history == "withhold"), facts_text(decision.facts or NO_FACTS)),
            (len(selection.choices), *offers, int(decision.counts_silence)),
        )
        if reply[0] == b"ok":
            return DecideReply(True)
        if reply[0] == b"late":
            return DecideReply(False, lapsed=True)
        if reply[0] == b"exists":
            return DecideReply(False, earlier=decode_decision(reply[1]))
        if reply[0] == b"lost":
            return DecideReply(False, lost=True)
        return DecideReply(False, reached=tuple(offer.decode() for offer in reply[1:]))

    async def withdraw(self, customer_id: str, decision_id: str, decided_at_ms: int, now_ms: int) -> None:
        """Take back a decision that could not be delivered; nothing happens if it was never written."""
        bucket = self.keys.bucket(customer_id)
        await self._function(
            "nb_withdraw",
            (
                self.keys.decision(bucket, decision_id),
                self.keys.log(bucket),
                self.keys.pending(bucket),
                self.keys.contact(customer_id),
                self.keys.unconfirmed(bucket),
                self.keys.withdrawal(bucket, decision_id),
            ),
            (decision_id, now_ms, decided_at_ms, WITHDRAWAL_TTL_MS),
        )

    async def bucket_of(self, decision_id: str) -> int | None:
        """The bucket of a decision: from its id, or from the owner's note of a caller's own id."""
        bucket = bucket_of_generated(decision_id)
        if bucket is not None:
            return bucket if bucket < self.keys.buckets else None
        owner = await self._read("GET", self.keys.owner(decision_id))
        return None if owner is None else int(owner.split(b" ", 1)[0])

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
    ) -> tuple[str, str]:
        """Record an outcome once. Returns the function's status and detail (see ``nb_feedback``)."""
        reply = await self._function(
            "nb_feedback",
            (self.keys.decision(bucket, decision_id), self.keys.log(bucket), self.keys.contacts(bucket)),
            (decision_id, now_ms, offer_id, outcome, "" if value is None else repr(value), at_ms, skew_ms),
        )
        return reply[0].decode(), reply[1].decode() if len(reply) > 1 else ""

    async def append(
        self,
        bucket: int,
        mark: str,
        records: Sequence[Sequence[str | bytes]],
        contacts: Contacts = NO_CONTACTS,
    ) -> bool:
        """Append records made elsewhere, and contacts, once per ``mark``. False if they are there already."""
        arguments: list[Any] = [OWNER_TTL_MS, contacts.keep_ms, len(contacts.members)]
        for at_ms, name in contacts.members:
            arguments += [at_ms, name]
        for record in records:
            arguments += [len(record), *record]
        reply = await self._function(
            "nb_append",
            (
                self.keys.mark(bucket, mark),
                self.keys.log(bucket),
                self.keys.contacts(bucket) + contacts.customer_id,
            ),
            arguments,
        )
        return bool(reply == b"ok")

    async def waiting(self, bucket: int, decision_id: str) -> dict[str, bytes]:
        """The waiting decision's hash; empty if it is not there."""
        reply = await self._read("HGETALL", self.keys.decision(bucket, decision_id))
        return {name.decode(): value for name, value in zip(reply[::2], reply[1::2], strict=True)}

    async def _read(self, *command: str) -> Any:
        try:
            return await self.pipe.call(*command)
        except RedisReplyError as error:
            raise RedisUnavailable(f"redis refused a read: {error}") from error

    async def _function(self, name: str, keys: Sequence[str], *arguments: Sequence[Any]) -> Any:
        return await self.pipe.function(name, keys, *(argument for part in arguments for argument in part))
