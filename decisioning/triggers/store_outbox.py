"""Streams of Redis into which decisions of triggers are put, for other systems to read."""

from typing import Any

from redis.asyncio import Redis

from storage.keys import OUTBOXES
from storage.redis import redis_errors

MAX_ENTRIES = 100_000
"""About so many entries stay in a stream; the oldest go first."""


class TriggerStreams:
    """Puts entries into streams. Methods raise ``RedisUnavailable``."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def put(self, stream: str, firing_id: str, body: str) -> None:
        """Put an entry with the fields ``id`` and ``body``, the JSON that a webhook would get."""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            # Noted each time, so that an erasure finds it also where Redis was lost since.
            pipe.sadd(OUTBOXES, stream)
            pipe.xadd(stream, {"id": firing_id, "body": body}, maxlen=MAX_ENTRIES, approximate=True)
            await pipe.execute()
