"""Workers share the buckets of the log between them, so that two of them learn more than one."""

from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from storage.errors import RedisUnavailable
from storage.functions import function_name
from storage.keys import WORKERS
from storage.redis import redis_errors

RENEW_S = 0.5
GONE_MS = 2_000
"""A worker that has said nothing for so long is taken as gone, and its buckets are shared out anew."""


class BucketShares:
    """The buckets that one worker learns from.

    Nothing depends on it that no other worker has them as well: folds of entries that were folded already are refused.
    So a worker that cannot know who else is there takes all of them.
    """

    def __init__(self, redis: "Redis", name: str, buckets: int, now_ms: Callable[[], int]) -> None:
        self._redis: Any = redis
        self._name = name
        self._all = frozenset(range(buckets))
        self._now_ms = now_ms
        self.own = self._all
        """The numbers of this worker's buckets."""
        self.alone = True

    async def renew(self) -> None:
        """Say that this worker is at work, and see who else is. Raises ``RedisUnavailable``."""
        now_ms = self._now_ms()
        try:
            async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
                # Noted by a function, which a Redis that is full does not refuse.
                pipe.fcall(function_name("nb_note_use"), 1, WORKERS, self._name, now_ms)
                pipe.hgetall(WORKERS)
                _, said = await pipe.execute()
            gone = [name for name, at_ms in said.items() if int(at_ms) < now_ms - GONE_MS]
            if gone:
                async with redis_errors():
                    await self._redis.hdel(WORKERS, *gone)
        except RedisUnavailable:
            self._share({self._name})
            raise
        self._share({name.decode() for name in said.keys() - set(gone)} | {self._name})

    async def leave(self) -> None:
        """Give this worker's buckets to the others at once. Raises ``RedisUnavailable``."""
        async with redis_errors():
            await self._redis.hdel(WORKERS, self._name)

    def _share(self, workers: set[str]) -> None:
        self.alone = len(workers) == 1
        place, count = sorted(workers).index(self._name), len(workers)
        self.own = frozenset(bucket for bucket in self._all if bucket % count == place)
