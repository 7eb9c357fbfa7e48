"""States that events told, put back into Redis from the archive and the streams behind it.

What is put back for a customer is the fold of all their events, those of aliases among them. So it replaces what is
there, if that has not changed since before the last of these events was read; otherwise it is made anew.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import msgpack
from redis.asyncio import Redis

from decisioning.events.store_archive import EventArchive
from decisioning.events.store_events import HORIZON_MS, REMEMBER_MS, id_mark
from decisioning.log.codec import is_decided
from decisioning.log.store_stream import LogReader
from decisioning.merging.store_aliases import AliasStore
from decisioning.merging.store_handover import NOTED_MS
from decisioning.model.logged_event import LoggedEvent
from decisioning.model.position import StreamPosition
from profiles.events.event import Event
from profiles.events.fold import State
from storage.errors import RedisUnavailable
from storage.functions import function_name
from storage.keys import Keys
from storage.redis import redis_errors

BATCH_SIZE = 200
MAX_TRIES = 100

Fold = Callable[[Sequence[Event]], State]


@dataclass(frozen=True, slots=True)
class Kept:
    """The times for which things are kept, in ms: what events told, and contacts."""

    state_ms: int
    contact_ms: int


@dataclass(frozen=True, slots=True)
class _Person:
    """A customer, or a visitor whom nobody knows, with all aliases and the archived events of them all."""

    name: str
    archived: Sequence[LoggedEvent]
    aliases: Sequence[str] = ()


@dataclass(slots=True)
class _Behind:
    """The events of a stream behind what is archived, by customer, as far as it has been read."""

    position: StreamPosition
    events: dict[str, list[LoggedEvent]] = field(default_factory=dict)


class EventRestorer:
    """Works beside a running system, while nothing is archived. ``fold``: what a customer's events have told."""

    def __init__(
        self,
        archive: EventArchive,
        aliases: AliasStore,
        redis: "Redis",
        keys: Keys,
        fold: Fold,
        kept: Kept,
        now_ms: int,
    ) -> None:
        self._archive = archive
        self._aliases = aliases
        self._redis: Any = redis
        self._reader = LogReader(redis, keys)
        self._keys = keys
        self._fold = fold
        self._kept = kept
        self._now_ms = now_ms
        self._behind: dict[int, _Behind] = {}

    async def restore(
        self, archived: Mapping[int, StreamPosition], names: Collection[str] | None = None
    ) -> int:
        """Put everything back; returns of how many customers. ``archived``: up to where streams are archived.

        ``names``: of whom alone, with all of their aliases, if that is given. Raises ``RedisUnavailable`` or
        ``PostgresUnavailable``.
        """
        since_ms = self._now_ms - max(self._kept.state_ms, self._kept.contact_ms, REMEMBER_MS)
        self._behind = {bucket: _Behind(position) for bucket, position in archived.items()}
        restored, waiting = 0, list[_Person]()
        async for name, events in self._archive.by_customer(since_ms, names):
            waiting.append(_Person(name, events))
            if len(waiting) == BATCH_SIZE:
                restored += await self._put_back(waiting)
                waiting = []
        return restored + await self._put_back(waiting)

    async def _put_back(self, customers: Sequence[_Person]) -> int:
        """Put back the archived events of some customers; returns how many these are.

        Raises ``RedisUnavailable``, also if more is told of one of them whenever it is tried: nothing is whole then.
        """
        aliases = await self._aliases.of_all([one.name for one in customers])
        left = [_Person(one.name, one.archived, aliases.get(one.name, ())) for one in customers]
        for _ in range(MAX_TRIES):
            if not left:
                break
            left = await self._try(left)
        if left:
            raise RedisUnavailable(
                f"events of {len(left)} customers changed whenever they were put back; try again"
            )
        return len(customers)

    async def _try(self, customers: Sequence[_Person]) -> list[_Person]:
        """Put back what is possible; returns the customers of whom something has changed meanwhile."""
        # In this order: whatever had changed the state by then is in the streams when they are read.
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for one in customers:
                pipe.get(self._keys.events(one.name))
            states = await pipe.execute()
        for bucket in {self._keys.bucket(name) for one in customers for name in (one.name, *one.aliases)}:
            await self._read_on(bucket)
        homes = await self._aliases.homes([name for one in customers for name in one.aliases])
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            # Households first: contacts are a set, and may be put back whatever becomes of the rest.
            for one in customers:
                for event in self._events(one):
                    self._share(pipe, event, homes)
            await pipe.execute()
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for one, state in zip(customers, states, strict=True):
                keys = (
                    self._keys.events(one.name),
                    self._keys.event_ids(one.name),
                    self._keys.contact(one.name),
                    self._keys.absorbed(one.name),
                )
                arguments = self._arguments(one, state)
                pipe.fcall(function_name("nb_restore_events"), len(keys), *keys, *arguments)
            replies = await pipe.execute()
        return [one for one, reply in zip(customers, replies, strict=True) if reply != b"ok"]

    async def _read_on(self, bucket: int) -> None:
        behind = self._behind.setdefault(bucket, _Behind(StreamPosition.START))
        batch = await self._reader.read(
            {bucket: behind.position}, count=10_000, block_ms=None, decisions=True, buckets=[bucket]
        )
        while batch.last:
            for one in batch.events:
                behind.events.setdefault(one.event.customer_id, []).append(one)
            behind.position = batch.last[bucket]
            batch = await self._reader.read(
                {bucket: behind.position}, count=10_000, block_ms=None, decisions=True, buckets=[bucket]
            )

    def _arguments(self, person: _Person, state: bytes | None) -> list[Any]:
        """Make the arguments of ``nb_restore_events``."""
        events = self._events(person)
        told = self._fold([one.event for one in events])
        since_ms = self._now_ms - HORIZON_MS
        ids = [one.event for one in events if one.event.at_ms > since_ms]
        arguments: list[Any] = [
            state or b"",
            msgpack.encode(told) if told else b"",
            self._kept.state_ms,
            self._now_ms + REMEMBER_MS,
            self._kept.contact_ms,
            NOTED_MS,
            len(ids),
            len(person.aliases),
            *person.aliases,
        ]
        for event in ids:
            arguments += (event.at_ms, id_mark(event.event_id))
        for one in events:
            if one.contact_ms > self._now_ms - self._kept.contact_ms:
                for member in one.contacts:
                    arguments += (one.contact_ms, member)
        return arguments

    def _share(self, pipe: Any, logged: LoggedEvent, homes: Mapping[str, str]) -> None:
        """Put contacts back into the household in which they counted, or that of whom the visitor became."""
        household = logged.household or homes.get(logged.event.customer_id)
        decided = [member for member in logged.contacts if is_decided(member)]
        if household is None or not decided or logged.contact_ms <= self._now_ms - self._kept.contact_ms:
            return
        arguments: list[Any] = [self._kept.contact_ms, len(decided)]
        for member in decided:
            arguments += (logged.contact_ms, member)
        pipe.fcall(function_name("nb_share"), 1, self._keys.household(household), *arguments)

    def _events(self, person: _Person) -> list[LoggedEvent]:
        """Return the events of a customer, those of all aliases among them, each once."""
        names = (*person.aliases, person.name)
        behind = [one for name in names for one in self._behind[self._keys.bucket(name)].events.get(name, ())]
        # Of an event that both a visitor and the customer had, the customer's is the one.
        found = sorted([*behind, *person.archived], key=lambda one: one.event.customer_id == person.name)
        return list({one.event.event_id: one for one in found}.values())
