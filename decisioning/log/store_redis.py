"""The log's hot side: one read, one write a decision; one write a feedback."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bandits.policy import NO_FACTS
from decisioning.catalog.placement_view import PlacementView
from decisioning.log.codec import (
    base_propensity_text,
    candidate_bytes,
    contact_text,
    decode_decision,
    encode_decision,
    expected_text,
    facts_text,
    marked_position,
    parse_history,
)
from decisioning.log.households.store_contacts import HouseholdContacts
from decisioning.log.owners import GRACE_MS, OWNER_TTL_MS, owner_note, owner_ttl_ms
from decisioning.log.ports import (
    NO_CONTACTS,
    Contacts,
    DecideReply,
    OutcomeReply,
    ReadReply,
    TellOutcome,
)
from decisioning.log.store_feedback import OutcomeWriter
from decisioning.model.decision import Contact, Decision, OfferContact
from decisioning.model.selection import Selection
from profiles.customer import Customer
from profiles.limits import VISITOR_PREFIX
from storage.clock import DAY_MS
from storage.errors import RedisUnavailable
from storage.functions import function_name
from storage.keys import Keys, bucket_of_generated
from storage.redis_pipe import Pipe, RedisReplyError

log = logging.getLogger(__name__)

WITHDRAWAL_TTL_MS = DAY_MS
RECENT_S = 3.0
"""Longer than the second that Redis may lose with ``appendfsync everysec``, or a replica usually lags."""
MAX_RECENT = 5_000
OFFER_FIELDS, LIMITS_FIELD = 6, 4
"""The number of arguments of ``nb_decide`` for each offer, and the place of its limits among them."""


class RecentWrites:
    """Writes that Redis acknowledged in the last seconds: told again if a server takes over that may not know it.

    Such a server is a replica that lags behind, or one that was started from an older file. Every step takes effect
    once, so what it does know is told to no effect. In memory only, and bounded.
    """

    def __init__(self, ticks_s: Callable[[], float] = time.monotonic) -> None:
        self._ticks_s = ticks_s
        self._writes: deque[tuple[float, tuple[Any, ...]]] = deque(maxlen=MAX_RECENT)

    def note(self, *command: Any) -> None:
        """Keep a command that was acknowledged. A list in it stands for its items."""
        now_s, writes = self._ticks_s(), self._writes
        while writes and writes[0][0] < now_s - RECENT_S:
            writes.popleft()
        writes.append((now_s, command))

    def tell_again(self, send: Callable[[tuple[Any, ...]], "asyncio.Future[Any]"]) -> None:
        """Send them all, in their order."""
        since_s = self._ticks_s() - RECENT_S
        commands = [command for at_s, command in self._writes if at_s >= since_s]
        for name, keys, *parts in commands:
            flat = [argument for part in parts for argument in part]
            send(("FCALL", function_name(name), len(keys), *keys, *flat)).add_done_callback(_note_refusal)
        if commands:
            log.warning("another redis server answers: it is told %d recent writes again", len(commands))


NEVER_REACHED = "a|d|1000000000|1|0|"
"""A limit that is never reached: it only asks that the history is whole."""


@dataclass(frozen=True, slots=True)
class _Unchecked:
    """The arguments of offers, without their limits. Made when they are needed, which is seldom."""

    offers: Sequence[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter(
            "" if place % OFFER_FIELDS == LIMITS_FIELD else one for place, one in enumerate(self.offers)
        )


def _offer_arguments(
    selection: Selection, contacts: Sequence[OfferContact], channel: str, limits: Sequence[str]
) -> list[Any]:
    """Write the offers of a decision, with the limits of each, as ``nb_decide`` takes them."""
    offers: list[Any] = []
    for choice, contact, checks in zip(selection.choices, contacts, limits, strict=True):
        offers += (
            choice.offer.offer_id,
            choice.offer.number,
            base_propensity_text(choice.base_propensity),
            contact_text(contact, channel),
            checks,
            expected_text(choice.expected, choice.factors.V),
        )
    return offers


def _looked_back(decision: Decision, view: PlacementView) -> bool:
    """Return whether rules looked at the history, or at what events told.

    These are no limits, but must not be met by what is not whole either. What was lost may leave no value behind, so
    that it counts what rules look at, not what they found.
    """
    snapshot = decision.customer_snapshot
    return snapshot is not None and bool(
        ((view.own_history is not None or view.asks_events) and snapshot.history is not None)
        or snapshot.events
        or snapshot.interests_told
    )


def _not_written(reply: Sequence[bytes]) -> DecideReply:
    """Read why ``nb_decide`` did not write a decision."""
    status, *found = reply
    if status == b"late":
        return DecideReply(False, lapsed=True)
    if status == b"exists":
        return DecideReply(False, decode_decision(found[0]) if found[0] else None, here=True)
    if status == b"lost":
        return DecideReply(False, lost=True)
    if status == b"moved":
        return DecideReply(False, moved=found[0].decode())
    return DecideReply(False, reached=tuple(offer.decode() for offer in found))


def _bucket_in(note: bytes | RedisReplyError | RedisUnavailable | None) -> int | RedisUnavailable | None:
    """Read the bucket in an owner's note."""
    if isinstance(note, RedisReplyError):
        return RedisUnavailable(f"redis refused a read: {note}")
    return int(note.split(b" ", 1)[0]) if isinstance(note, bytes) else note


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _note_refusal(reply: "asyncio.Future[Any]") -> None:
    if not reply.cancelled() and reply.exception() is not None:
        log.warning("a recent write could not be told again: %s", reply.exception())


class RedisLog:
    """Reads and writes what a decision and a feedback need. Methods raise ``RedisUnavailable``.

    ``for_earlier``: whether processes of an earlier version must be able to read waiting decisions, which takes more
    memory (see ``storage/lua/0_library.lua``).
    """

    def __init__(self, pipe: Pipe, keys: Keys, for_earlier: Callable[[], bool] = lambda: False) -> None:
        self.pipe = pipe
        self.keys = keys
        self._for_earlier = for_earlier
        self._recent = RecentWrites()
        self.households = HouseholdContacts(pipe, keys, self._recent)
        self._outcomes = OutcomeWriter(pipe, keys, self._recent, self.households, self._hand_over)
        pipe.on_server = self._recent.tell_again
        self.hand_over: Callable[[str], Awaitable[object]] | None = None
        """Adds contacts of an alias to those of its customer: awaited before what made them is acknowledged."""

    async def read(
        self,
        customer_id: str,
        with_history: bool,
        own_id: str | None = None,
        window_ms: int = 0,
        with_events: bool = False,
    ) -> ReadReply:
        """Read in one round trip: profile, contacts, what events told, and for an own id what it named before.

        What it named is not taken back any more. ``window_ms``: how long a decision under that id waits for outcomes.
        """
        bucket = self.keys.bucket(customer_id)
        history = owner = extended = earlier = events = alias = None
        if customer_id.startswith(VISITOR_PREFIX):
            alias = self.pipe.call("HGET", self.keys.alias(customer_id), "to")
        if own_id is not None:
            # Earlier versions compare the id itself.
            mine = (
                f"{bucket} {customer_id}" if self._for_earlier() else owner_note(bucket, customer_id, own_id)
            )
            name, ttl_ms = self.keys.owner(own_id), owner_ttl_ms(window_ms)
            owner = self.pipe.call("SET", name, mine, "NX", "GET", "PX", ttl_ms)
            # A note of an earlier attempt must not end before what is decided now.
            extended = self.pipe.call("PEXPIRE", name, ttl_ms, "GT")
            known = self._claim_keys(bucket, own_id)
            # Before the history: contacts of what is being taken back must not count against its retry.
            earlier = self.pipe.call("FCALL", function_name("nb_claim"), len(known), *known, own_id)
        profile = self.pipe.call("GET", self.keys.profile(customer_id))
        if with_events:
            events = self.pipe.call("GET", self.keys.events(customer_id))
        if with_history:
            history = self.pipe.call("ZRANGE", self.keys.contact(customer_id), 0, -1, "WITHSCORES")
        calls = [c for c in (alias, owner, extended, earlier, profile, events, history) if c is not None]
        try:
            await calls[-1]  # replies come in order: when the last is here, all are
            for call in calls:
                call.result()
        except RedisReplyError as error:
            raise RedisUnavailable(f"redis refused a read: {error}") from error
        finally:
            for call in calls:  # take the exceptions of those that nobody waits for
                if call.done() and not call.cancelled():
                    call.exception()
        contacts = parse_history(history.result()) if history is not None else []
        told = None if events is None else events.result()
        to = None if alias is None else alias.result()
        moved = None if to is None else await self.resolve(to.decode())
        if own_id is None:
            return ReadReply(profile.result(), contacts, events=told, moved=moved)
        assert owner is not None
        assert earlier is not None
        first, (status, *header) = owner.result(), earlier.result()
        return ReadReply(
            profile.result(),
            contacts,
            None if first is None else first.decode(),
            decode_decision(header[0]) if header and header[0] else None,
            status == b"here",
            status == b"withdrawn",
            told,
            moved,
        )

    async def read_household(self, household_id: str, decision_id: str, now_ms: int) -> list[Contact]:
        """Read the contacts of a household, without those of attempts at the decision itself."""
        return await self.households.read(household_id, decision_id, now_ms)

    async def resolve(self, customer_id: str) -> str:
        """Return whose alias a visitor is in the end; all others are nobody's."""
        return (await self.names_of(customer_id))[-1]

    async def names_of(self, customer_id: str) -> list[str]:
        """Return whose alias somebody is, one behind the other, from themselves to the customer in the end."""
        names = [customer_id]
        while names[-1].startswith(VISITOR_PREFIX):
            to = await self._read("HGET", self.keys.alias(names[-1]), "to")
            if to is None:
                break
            names.append(to.decode())
        return names

    async def reassign(self, customer_id: str, own_id: str, window_ms: int) -> None:
        """Note that an own id of a visitor's is that of the customer whose alias the visitor is."""
        mine = owner_note(self.keys.bucket(customer_id), customer_id, own_id)
        await self._read("SET", self.keys.owner(own_id), mine, "PX", owner_ttl_ms(window_ms))

    def decide(
        self,
        decision: Decision,
        selection: Selection,
        view: PlacementView,
        customer: Customer,
        before_ms: int | None = None,
        attempt: str = "",
    ) -> "asyncio.Task[DecideReply]":
        """Write: check limits, reserve, store the waiting decision, append to the log; all or nothing.

        ``customer``: whose preferences count. ``before_ms``: by the server's clock, when it must not be written any
        more. ``attempt``: tells this request from others with the same id of the caller's own.
        """
        # A task, so that a caller who stops waiting can still learn what became of it.
        return asyncio.ensure_future(self._decide(decision, selection, view, customer, before_ms, attempt))

    async def _decide(
        self,
        decision: Decision,
        selection: Selection,
        view: PlacementView,
        customer: Customer,
        before_ms: int | None,
        attempt: str,
    ) -> DecideReply:
        """Write a decision, after what it uses up of the limits of a household, if any, is reserved there."""
        household_id, contacts = decision.household, decision.contacts
        if household_id is None or contacts is None:
            return await self._write(decision, selection, view, customer, before_ms, attempt)
        note = (self.keys.bucket(decision.customer_id), decision.decision_id)
        together = [view.contact.checks_together(choice.row) for choice in selection.choices]
        offers = _offer_arguments(selection, contacts.offers, decision.channel or "", together)
        status, *found = await self.households.reserve(
            household_id,
            note,
            decision.decided_at_ms,
            contacts.keep_ms,
            self._whole(view),
            offers,
            _Unchecked(offers),
        )
        if status != b"ok":
            reached = () if status == b"lost" else tuple(offer.decode() for offer in found)
            return DecideReply(False, reached=reached, lost=status == b"lost")
        until_ms = int(found[0]) if before_ms is None else min(before_ms, int(found[0]))
        reply = await self._write(decision, selection, view, customer, until_ms, attempt)
        # Other attempts at an own id, and one that is told again, may rely on what is reserved.
        if not (reply.written or reply.here) and bucket_of_generated(decision.decision_id) is not None:
            with suppress(RedisUnavailable):  # it leaves by itself
                await self.households.give_back(household_id, note, found[0])
        return reply

    async def _write(
        self,
        decision: Decision,
        selection: Selection,
        view: PlacementView,
        customer: Customer,
        before_ms: int | None,
        attempt: str,
    ) -> DecideReply:
        customer_id, decision_id = decision.customer_id, decision.decision_id
        bucket = self.keys.bucket(customer_id)
        now_ms, until_ms, contacts = decision.decided_at_ms, decision.until_ms, decision.contacts
        assert contacts is not None
        unlimited = NEVER_REACHED if _looked_back(decision, view) else ""
        limits = [view.contact.checks(choice.row, customer) or unlimited for choice in selection.choices]
        offers = _offer_arguments(selection, contacts.offers, decision.channel or "", limits)
        confirm_ms = contacts.confirm_until_ms
        candidates, base_propensities, factors = candidate_bytes(selection)
        keys = (*self._keys_of(bucket, customer_id, decision_id), self.keys.whole(bucket))
        if customer_id.startswith(VISITOR_PREFIX):
            keys = (*keys, self.keys.alias(customer_id))
        head = (
            (decision_id, now_ms, until_ms, until_ms - now_ms + GRACE_MS, contacts.keep_ms),
            (encode_decision(decision), candidates, base_propensities, factors, customer_id),
            (
                decision.policy.key,
                decision.placement,
                decision.presentation,
                "" if confirm_ms is None else confirm_ms,
            ),
        )
        facts = facts_text(decision.facts or NO_FACTS)
        tail = (
            *(int(decision.counts_silence), attempt, int(self._for_earlier()), ",".join(decision.noted)),
            decision.household or "",
        )
        whole = self._whole(view)
        reply = await self._function(
            "nb_decide" if before_ms is None else "nb_decide_within",
            keys,
            () if before_ms is None else (before_ms,),
            *head,
            (whole, facts, len(selection.choices)),
            offers,
            tail,
        )
        if reply[0] == b"ok":
            # Told again, it is not asked once more whether it may be: it was.
            self._recent.note(
                "nb_decide", keys, *head, ("", facts, len(selection.choices)), _Unchecked(offers), tail
            )
            return DecideReply(True)
        return _not_written(reply)

    def _whole(self, view: PlacementView) -> str:
        """Return the run id of the server whose history must be whole for a placement; empty if it need not be."""
        return (self.pipe.server.run_id or "1") if view.placement.without_history == "withhold" else ""

    async def claim(self, customer_id: str, decision_id: str) -> tuple[str, Decision | None]:
        """Hand out what an own id names: ``here``, and the decision if the log has it; it is not taken back any more.

        ``withdrawn`` if it was taken back, ``none`` if Redis does not have it, or not any more.
        """
        bucket = self.keys.bucket(customer_id)
        status, *header = await self._function("nb_claim", self._claim_keys(bucket, decision_id), decision_id)
        return status.decode(), decode_decision(header[0]) if header and header[0] else None

    def _claim_keys(self, bucket: int, decision_id: str) -> tuple[str, ...]:
        return (
            self.keys.decision(bucket, decision_id),
            self.keys.withdrawal(bucket, decision_id),
            self.keys.log(bucket),
        )

    async def withdraw(
        self,
        customer_id: str,
        decision_id: str,
        decided_at_ms: int,
        now_ms: int,
        attempt: str = "",
        household_id: str | None = None,
    ) -> None:
        """Take back a decision that could not be delivered; nothing happens if it was never written.

        Nor if another ``attempt`` than this one ("": any) wrote it. ``household_id``: in which it reserved contacts.
        """
        bucket = self.keys.bucket(customer_id)
        mark = self.keys.withdrawal(bucket, decision_id)
        keys = (*self._keys_of(bucket, customer_id, decision_id), mark, *self._keys_of_aliases(bucket))
        arguments = (decision_id, now_ms, decided_at_ms, WITHDRAWAL_TTL_MS, attempt)
        reply = await self._function("nb_withdraw", keys, arguments)
        self._recent.note("nb_withdraw", keys, arguments)
        if household_id is not None:
            note, was_withdrawn = (bucket, decision_id), reply == b"withdrawn"
            await self.households.look_again(household_id, note, now_ms, was_withdrawn=was_withdrawn)

    def _keys_of(self, bucket: int, customer_id: str, decision_id: str) -> tuple[str, ...]:
        """Return the keys that a decision touches."""
        return (
            self.keys.decision(bucket, decision_id),
            self.keys.log(bucket),
            self.keys.pending(bucket),
            self.keys.contact(customer_id),
            self.keys.unconfirmed(bucket),
        )

    def _keys_of_aliases(self, bucket: int) -> tuple[str, str]:
        return self.keys.aliases(bucket), self.keys.handovers(bucket)

    async def _hand_over(self, visitor: str) -> None:
        if self.hand_over is not None:
            await self.hand_over(visitor)

    async def bucket_of(self, decision_id: str) -> int | None:
        """The bucket of a decision: from its id, or from the owner's note of a caller's own id."""
        bucket = bucket_of_generated(decision_id)
        if bucket is not None:
            return bucket if bucket < self.keys.buckets else None
        owner = await self._read("GET", self.keys.owner(decision_id))
        return None if owner is None else int(owner.split(b" ", 1)[0])

    async def buckets_of(self, decision_ids: Iterable[str]) -> Mapping[str, int | RedisUnavailable | None]:
        """The buckets of decisions, by id, as ``bucket_of`` finds them, or why one was not found."""
        found: dict[str, int | RedisUnavailable | None] = {}
        own = []
        for decision_id in decision_ids:
            bucket = bucket_of_generated(decision_id)
            if bucket is None:
                own.append(decision_id)
            else:
                found[decision_id] = bucket if bucket < self.keys.buckets else None
        if own:
            notes = await self.pipe.call_all([("GET", self.keys.owner(name)) for name in own])
            found |= {name: _bucket_in(note) for name, note in zip(own, notes, strict=True)}
        return found

    async def feedback(self, told: Sequence[TellOutcome]) -> list[OutcomeReply | RedisUnavailable]:
        """Record outcomes once each; in the place of a reply stands why there is none."""
        return await self._outcomes.record(told)

    async def append(
        self,
        bucket: int,
        mark: str,
        records: Sequence[Sequence[str | bytes]],
        contacts: Contacts = NO_CONTACTS,
    ) -> bool:
        """Append records made elsewhere, and contacts, once per ``mark``. False if they are there already."""
        customer_id = contacts.customer_id
        arguments: list[Any] = [OWNER_TTL_MS, contacts.keep_ms, customer_id, len(contacts.members)]
        for at_ms, name in contacts.members:
            arguments += [at_ms, name]
        for record in records:
            arguments += [len(record), *record]
        keys = (
            self.keys.mark(bucket, mark),
            self.keys.log(bucket),
            self.keys.contacts(bucket) + customer_id,
            *self._keys_of_aliases(bucket),
        )
        reply = await self._function("nb_append", keys, arguments)
        if reply == b"ok":
            self._recent.note("nb_append", keys, arguments)
        if contacts.members and customer_id.startswith(VISITOR_PREFIX):
            await self._hand_over(customer_id)
        return bool(reply == b"ok")

    async def waiting(self, bucket: int, decision_id: str) -> dict[str, bytes]:
        """The waiting decision's hash, with its header (``h``) if the archive is not the only one to have it.

        Empty if it is not there.
        """
        reply = await self._read("HGETALL", self.keys.decision(bucket, decision_id))
        fields = {name.decode(): value for name, value in _pairs(reply)}
        if "h" not in fields and "x" in fields:
            position = marked_position(fields["x"], fields["d"])
            for _, entry in await self._read("XRANGE", self.keys.log(bucket), position, position):
                record = dict(_pairs(entry))
                if record.get(b"id") == decision_id.encode() and b"h" in record:
                    fields["h"] = record[b"h"]
        return fields

    async def _read(self, *command: str | int) -> Any:
        try:
            return await self.pipe.call(*command)
        except RedisReplyError as error:
            raise RedisUnavailable(f"redis refused a read: {error}") from error

    async def _function(self, name: str, keys: Sequence[str], *arguments: Sequence[Any]) -> Any:
        return await self.pipe.function(name, keys, *(argument for part in arguments for argument in part))
