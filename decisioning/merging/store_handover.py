"""The data of an alias in Redis, handed over to its customer in another bucket.

No step spans two buckets, so there are several, and each may be repeated at any time, by anybody, in any order:

1. ``redirect``, in the bucket of the alias: from then on its state does not change, and whoever asks is sent on;
2. ``hand_over_events``: the state is added in the customer's bucket, together with a note that it was;
3. ``hand_over_contacts``: contacts are a set, so the customer's become the union, and so do those of the household to
   which the customer belonged at the merge. The bucket of the alias goes on making some, by outcomes of decisions that
   wait there: each such step notes that there are new ones.

Where the customer is an alias in its turn, both go on to whose alias it is, unless it had added them before, and so
handed them on.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import DecodeError, msgpack
from redis.asyncio import Redis

from decisioning.events.store_events import REMEMBER_MS
from decisioning.log.codec import is_decided
from profiles.events.definitions import EventDefinitions
from profiles.events.fold import Increment, State
from profiles.events.merging import merge, subtract
from storage.clock import DAY_MS
from storage.errors import RedisUnavailable
from storage.functions import function_name
from storage.keys import Keys
from storage.redis import redis_errors

NOTED_MS = 400 * DAY_MS
"""What has been added is noted for so long: longer than anything that has been added may matter."""
MAX_TRIES = 100

EventFinder = Callable[[str, Collection[bytes]], Awaitable[Sequence[Sequence[Increment]]]]
"""Finds what some of an alias's events, named by the marks of their ids, have added to its state."""

_DECODER = msgpack.Decoder(State)


@dataclass(frozen=True, slots=True)
class _Held:
    """The data of one id: state, as it is stored, the ids of the last events with their times, aliases added."""

    packed: bytes
    ids: Mapping[bytes, float]
    added: tuple[bytes, ...]


class Handover:
    """Hands over. Methods raise ``RedisUnavailable``."""

    def __init__(self, redis: "Redis", keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def redirect(self, aliases: Sequence[tuple[str, str, str | None]], now_ms: int) -> None:
        """Make visitors aliases, ``(visitor, customer, the customer's household)``; whoever is one stays so."""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for visitor, customer_id, household_id in aliases:
                keys = (self._keys.alias(visitor), self._handovers(visitor))
                arguments = (visitor, customer_id, now_ms, household_id or "")
                pipe.fcall(function_name("nb_redirect"), 2, *keys, *arguments)
            await pipe.execute()

    async def hand_over_contacts(self, visitor: str, *, again: bool = False) -> None:
        """Add the contacts of an alias to its customer's and the household's; nothing to do for who is no alias.

        ``again``: also if none has changed since that was done last.
        """
        for _ in range(MAX_TRIES):
            if await self._hand_over_contacts(visitor, again=again):
                return
            again = False
        raise RedisUnavailable("contacts of the visitor changed whenever they were handed over; try again")

    async def _hand_over_contacts(self, visitor: str, *, again: bool) -> bool:
        """Hand over once; returns false if contacts have changed meanwhile, so that old ones may have been added."""
        contact = self._keys.contact(visitor)
        async with redis_errors(), self._redis.pipeline(transaction=True) as pipe:
            if again:
                pipe.hincrby(self._keys.alias(visitor), "v", 1)
            pipe.hgetall(self._keys.alias(visitor))
            pipe.zrange(contact, 0, -1, withscores=True)
            pipe.pttl(contact)
            alias, contacts, keep_ms = (await pipe.execute())[-3:]
        if b"to" not in alias:
            return True
        arguments: list[Any] = [visitor, alias[b"v"], max(keep_ms, 0), NOTED_MS, len(contacts)]
        for member, at_ms in contacts:
            arguments += (int(at_ms), member)
        gone = [name[1:] for name in alias if name.startswith(b"-")]
        arguments += gone
        await self._share(alias, [one for one in contacts if is_decided(one[0].decode())], keep_ms, gone)

        async def unite(customer_id: str) -> list[bytes]:
            keys = (
                self._keys.contact(customer_id),
                self._keys.absorbed(customer_id),
                self._keys.alias(customer_id),
            )
            united: list[bytes] = await self._call("nb_unite", keys, *arguments)
            return united

        await _to_the_last(unite, alias[b"to"].decode())
        keys = (self._keys.alias(visitor), self._handovers(visitor))
        reply: bytes = await self._call("nb_handed_over", keys, visitor, alias[b"v"])
        return reply == b"ok"

    async def _share(
        self,
        alias: Mapping[bytes, bytes],
        contacts: Sequence[tuple[bytes, float]],
        keep_ms: int,
        gone: Sequence[bytes],
    ) -> None:
        """Add contacts of an alias to the household of its customer, who may be one of another customer in turn."""
        if not contacts and not gone:
            return
        arguments: list[Any] = [max(keep_ms, 0), len(contacts)]
        for member, at_ms in contacts:
            arguments += (int(at_ms), member)
        for _ in range(MAX_TRIES):
            if b"hh" in alias:
                await self._call("nb_share", [self._keys.household(alias[b"hh"].decode())], *arguments, *gone)
            if b"to" not in alias:
                return
            async with redis_errors():
                alias = await self._redis.hgetall(self._keys.alias(alias[b"to"].decode()))

    async def hand_over_events(
        self, visitor: str, definitions: EventDefinitions, state_ms: int, now_ms: int, find: EventFinder
    ) -> None:
        """Add what the events of an alias told to what those of its customer did, once.

        An event that both had counts once: ``find`` finds what it added. ``state_ms``: how long the sum is kept.
        """
        async with redis_errors():
            to = await self._redis.hget(self._keys.alias(visitor), "to")
        if to is None:
            return
        own = await self._held(visitor)

        async def absorb(customer_id: str) -> list[bytes]:
            theirs = await self._held(customer_id)
            both = own.ids.keys() & theirs.ids.keys()
            state = _unpacked(own.packed)
            for increments in await find(visitor, both) if both and state else ():
                state = subtract(state, increments)
            merged = merge(definitions, _unpacked(theirs.packed), state) if state else {}
            keys = (
                self._keys.events(customer_id),
                self._keys.event_ids(customer_id),
                self._keys.absorbed(customer_id),
                self._keys.alias(customer_id),
            )
            arguments: list[Any] = [visitor, theirs.packed, msgpack.encode(merged) if merged else b""]
            arguments += [max(state_ms, 1), now_ms + REMEMBER_MS, NOTED_MS, len(own.added), *own.added]
            for mark, at_ms in own.ids.items():
                arguments += (int(at_ms), mark)
            absorbed: list[bytes] = await self._call("nb_absorb", keys, *arguments)
            return absorbed

        await _to_the_last(absorb, to.decode())

    async def drop_events(self, visitor: str) -> None:
        """Delete the state of an alias, which the customer has; ids are kept, since events may be told again."""
        async with redis_errors():
            await self._redis.delete(self._keys.events(visitor))

    async def forget(self, visitor: str, customers: Sequence[str]) -> None:
        """Delete all that says that a visitor is a customer. ``customers``: all of whom it may be an alias."""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            pipe.delete(self._keys.alias(visitor))
            pipe.srem(self._handovers(visitor), visitor)
            for customer_id in customers:
                pipe.hdel(self._keys.absorbed(customer_id), f"c:{visitor}", f"e:{visitor}")
            await pipe.execute()

    async def waiting(self) -> list[str]:
        """List aliases whose contacts have changed since they were handed over."""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket in range(self._keys.buckets):
                pipe.smembers(self._keys.handovers(bucket))
            found = await pipe.execute()
        return sorted(name.decode() for names in found for name in names)

    def _handovers(self, visitor: str) -> str:
        return self._keys.handovers(self._keys.bucket(visitor))

    async def _held(self, customer_id: str) -> _Held:
        async with redis_errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.get(self._keys.events(customer_id))
            pipe.zrange(self._keys.event_ids(customer_id), 0, -1, withscores=True)
            pipe.hkeys(self._keys.absorbed(customer_id))
            packed, ids, noted = await pipe.execute()
        added = tuple(name[2:] for name in noted if name.startswith(b"e:"))
        return _Held(packed or b"", dict(ids), added)

    async def _call(self, name: str, keys: Sequence[str], *arguments: Any) -> Any:
        async with redis_errors():
            return await self._redis.fcall(function_name(name), len(keys), *keys, *arguments)


async def _to_the_last(step: Callable[[str], Awaitable[list[bytes]]], customer_id: str) -> None:
    """Take a step for a customer, or whose alias that is; anew while others are faster."""
    for _ in range(MAX_TRIES):
        status, *to = await step(customer_id)
        if status == b"moved":
            customer_id = to[0].decode()
        elif status != b"conflict":
            return
    raise RedisUnavailable("events of the customer changed whenever others were added; try again")


def _unpacked(packed: bytes) -> State:
    """Read a state; one that cannot be read is as good as none, since a rebuild makes it whole."""
    try:
        return _DECODER.decode(packed) if packed else {}
    except DecodeError:
        return {}
