"""The inbox: a stream of Redis into which other systems put events, read by a group of workers, at least once each.

An entry has one field, ``event``: what ``POST /v1/events`` takes, as JSON. It is deleted once it has been recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from decisioning.model.position import StreamPosition
from storage.redis import redis_errors

GROUP = "nextbest"
FIELD = b"event"
LEFT_MS = 60_000
"""An entry that a worker took so long ago, and did not finish, is taken by another one."""


@dataclass(frozen=True, slots=True, eq=False)
class InboxEntry:
    """An entry as it stands in the stream."""

    position: StreamPosition
    fields: Mapping[bytes, bytes]


class Inbox:
    """The stream ``name``, as one worker reads it. Methods raise ``RedisUnavailable``."""

    def __init__(self, redis: "Redis", name: str, worker: str) -> None:
        self._redis: Any = redis
        self._name = name
        self._worker = worker
        self._is_ready = False

    async def take(self, count: int, block_ms: int) -> list[InboxEntry]:
        """Take up to ``count`` entries: own ones that were not finished, what others left, or new ones.

        Waits up to ``block_ms`` for something new to come.
        """
        async with redis_errors():
            await self._make_ready()
            try:
                return await self._unfinished(count) or await self._new(count, block_ms)
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                self._is_ready = False  # Redis was emptied: the group is made again with the next round
                return []

    async def _make_ready(self) -> None:
        if self._is_ready:
            return
        try:
            await self._redis.xgroup_create(self._name, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._is_ready = True

    async def _unfinished(self, count: int) -> list[InboxEntry]:
        reply = await self._redis.xreadgroup(GROUP, self._worker, {self._name: "0"}, count=count)
        own = _entries(reply[0][1]) if reply else []
        if own:
            return own
        _, left, _ = await self._redis.xautoclaim(
            self._name, GROUP, self._worker, LEFT_MS, "0-0", count=count
        )
        return _entries(left)

    async def _new(self, count: int, block_ms: int) -> list[InboxEntry]:
        reply = await self._redis.xreadgroup(
            GROUP, self._worker, {self._name: ">"}, count=count, block=block_ms
        )
        return _entries(reply[0][1]) if reply else []

    async def finish(self, positions: Sequence[StreamPosition]) -> None:
        """Delete entries that were recorded, or set aside."""
        if not positions:
            return
        async with redis_errors(), self._redis.pipeline() as pipe:
            pipe.xack(self._name, GROUP, *positions)
            pipe.xdel(self._name, *positions)
            await pipe.execute()

    async def put(self, fields: Mapping[bytes, bytes]) -> None:
        """Put an entry in."""
        async with redis_errors():
            await self._redis.xadd(self._name, dict(fields))


def _entries(found: Sequence[tuple[bytes, Mapping[bytes, bytes] | None]]) -> list[InboxEntry]:
    """Return entries; of those that somebody deleted nothing is left but the position."""
    return [InboxEntry(StreamPosition(position.decode()), fields or {}) for position, fields in found]
