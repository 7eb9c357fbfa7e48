"""Watches from outside whether the log is still being archived, and keeps what workers say of themselves."""

import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.model.position import StreamPosition
from storage.errors import PostgresUnavailable
from storage.functions import function_name
from storage.keys import ARCHIVER_FAILURE, WORKER
from storage.redis import redis_errors

MAX_STILL_S = 60.0
"""Archiving stands still when a bucket in which entries wait has not moved for so long."""
FAILURE_TTL_S = 60


class ArchiveWatch:
    """Notes for each bucket when its archived position moved last. ``clock`` gives monotonic seconds."""

    def __init__(
        self,
        archive: ArchiveReader,
        reader: LogReader,
        redis: "Redis",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archive = archive
        self._reader = reader
        self._redis: Any = redis
        self._clock = clock
        self._positions: dict[int, StreamPosition] = {}
        self._since_s: dict[int, float] = {}
        self.still_s = 0.0
        self.failure = ""
        self.stands_still = False
        """True if archiving has stood still for too long, as far as was seen."""

    def describe(self) -> str:
        """Say for how long nothing has been archived, and why; empty if all is well. It names no hosts and no data."""
        if not self.stands_still:
            return ""
        why = self.failure or "no worker says why: is one running?"
        return f"nothing has been archived for {self.still_s:.0f} s ({why})"

    async def look(self) -> None:
        """Compare the log with the archive. Raises ``RedisUnavailable``; without Postgres nothing moves."""
        ends = await self._reader.ends()
        try:
            positions = await self._archive.positions()
        except PostgresUnavailable:
            positions = self._positions
        now_s = self._clock()
        for bucket, end in ends.items():
            position = positions.get(bucket, StreamPosition.START)
            moved = position != self._positions.get(bucket, StreamPosition.START)
            if position >= end or moved or bucket not in self._since_s:
                self._since_s[bucket] = now_s
        self._positions = positions
        self.still_s = max(
            (now_s - since_s for b, since_s in self._since_s.items() if b in ends), default=0.0
        )
        self.stands_still = self.still_s > MAX_STILL_S
        self.failure = await read_failure(self._redis)


async def note_failure(redis: "Redis", error: Exception) -> None:
    """Keep for a minute why a round of archiving failed: the kind of error only. Raises ``RedisUnavailable``."""
    causes = [error, error.__cause__, getattr(error.__cause__, "orig", None)]
    names = " of ".join(type(cause).__name__ for cause in reversed(causes) if cause is not None)
    async with redis_errors():
        await redis.set(ARCHIVER_FAILURE, names, ex=FAILURE_TTL_S)


async def read_failure(redis: Any) -> str:
    """Read why archiving failed lately; empty if it did not. Raises ``RedisUnavailable``."""
    async with redis_errors():
        said = await redis.get(ARCHIVER_FAILURE)
    return "" if said is None else str(said.decode())


async def note_worker(redis: Any, at_ms: int) -> None:
    """Note that a worker is at work (Unix ms), also in a Redis that is full. Raises ``RedisUnavailable``."""
    async with redis_errors():
        await redis.fcall(function_name("nb_note_use"), 1, WORKER, "alive", at_ms)


async def read_worker(redis: Any) -> int | None:
    """Read when a worker was at work last (Unix ms); ``None`` if none ever was. Raises ``RedisUnavailable``."""
    async with redis_errors():
        said = await redis.hget(WORKER, "alive")
    return None if said is None else int(said)
