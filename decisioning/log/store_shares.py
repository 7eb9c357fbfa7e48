"""Workers share the buckets of the log between them, so that two of them learn more than one."""

from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from storage.errors import RedisUnavailable
from storage.functions import function_name
from storage.keys import WORKERS
from storage.redis import redis_errors

RENEW_MS = 500
GONE_MS = 2_000
"""A learner that has said nothing for so long is taken as gone, and its buckets are shared out anew."""


class BucketShares:
    """The buckets from which one worker learns one policy (``name@version``).

    A learner has a share for as long as its own rounds go well: a worker that cannot learn this policy keeps no bucket
    from those that can. Nothing depends on it that no other worker has the same buckets: folds of entries that were
    folded already are refused. So a learner that does not know who else is there takes all of them.
    """

    def __init__(
        self, redis: "Redis", policy: str, worker: str, buckets: int, now_ms: Callable[[], int]
    ) -> None:
        self._redis: Any = redis
        self._key = WORKERS + policy
        self._name = worker
        self._all = frozenset(range(buckets))
        self._now_ms = now_ms
        self._renewed_ms = 0
        self.own = self._all
        """The numbers of this learner's buckets."""
        self.alone = True

    async def renew(self) -> None:
        """Say that a round went well, and see who else learns; at most every ``RENEW_MS``.

        Raises ``RedisUnavailable``.
        """
        now_ms = self._now_ms()
        if abs(now_ms - self._renewed_ms) < RENEW_MS:
            return
        self._renewed_ms = now_ms
        try:
            async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
                # Noted by a function, which a Redis that is full does not refuse.
                pipe.fcall(function_name("nb_note_use"), 1, self._key, self._name, now_ms)
                pipe.hgetall(self._key)
                _, said = await pipe.execute()
            # Also a time in the future: of a server whose clock was ahead. Who is there says so again at once.
            gone = [name for name, at_ms in said.items() if abs(int(at_ms) - now_ms) > GONE_MS]
            if gone:
                async with redis_errors():
                    await self._redis.hdel(self._key, *gone)
        except RedisUnavailable:
            self._share({self._name})
            raise
        self._share({name.decode() for name in said.keys() - set(gone)} | {self._name})

    async def leave(self) -> None:
        """Give this learner's buckets to the others at once. Raises ``RedisUnavailable``."""
        async with redis_errors():
            await self._redis.hdel(self._key, self._name)

    def _share(self, workers: set[str]) -> None:
        self.alone = len(workers) == 1
        place, count = sorted(workers).index(self._name), len(workers)
        self.own = frozenset(bucket for bucket in self._all if bucket % count == place)
