"""The read-through cache of profiles, which never serves what a finished change has replaced.

Whoever changes a customer writes a tombstone over the cached profile before committing, and again after it.
Readers take a tombstone for a miss, read Postgres, and fill with ``SET NX``, which cannot replace one. They
fill within ``FILL_WITHIN_S`` of having begun to read, or not at all. So what was read before a commit can
only be offered to the cache while the tombstone that followed the commit is there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import WatchError

from profiles.customer import TOMBSTONE, Profile, decode_cached, encode_profile
from storage.errors import RedisUnavailable
from storage.redis import redis_errors

BEFORE_CHANGE_S = 10
AFTER_CHANGE_S = 5
FILL_WITHIN_S = 4.0
"""The time after its beginning in which a read may fill. The difference to ``AFTER_CHANGE_S`` is for a slow Redis."""
REDIS_TIMEOUT_S = 1.0
"""For one exchange with Redis, whatever the client's own timeouts and retries are."""

_PIPELINE_SIZE = 200
_SCAN_SIZE = 1000


class ProfileCache:
    """Encoded profiles in Redis, by customer.

    The client must not decode responses. ``key_of`` gives a customer's key. ``ttl_s`` is how long a profile
    stays; that of a customer without a record stays for ``unknown_ttl_s`` only, since anyone may ask for any id.
    """

    def __init__(
        self, redis: Redis, key_of: Callable[[str], str], *, ttl_s: int = 300, unknown_ttl_s: int = 30
    ) -> None:
        self._redis = redis
        self._key_of = key_of
        self._ttl_s = ttl_s
        self._unknown_ttl_s = min(unknown_ttl_s, ttl_s)
        self._later: asyncio.Task[None] | None = None

    async def get(self, customer_id: str) -> Profile | None:
        """Read the cached profile, or ``None``. Raises ``RedisUnavailable``."""
        key = self._key_of(customer_id)
        async with _bounded("read the profile cache"):
            value = cast("bytes | None", await self._redis.get(key))
            profile = decode_cached(value)
            if profile is None and value is not None and value != TOMBSTONE:
                # Bytes that cannot be read, such as those of an older version, make room for a fill.
                await self._remove_if_still(key, value)
        return profile

    async def fill(self, profile: Profile, within_s: float = FILL_WITHIN_S) -> bool:
        """Cache ``profile`` unless something is there, be it a tombstone. Returns whether it was cached.

        Nothing is sent, nor sent again, after ``within_s``; and it is not kept for longer than it holds. Raises
        ``RedisUnavailable``.
        """
        key = self._key_of(profile.customer.customer_id)
        ttl_ms = 1000 * (self._ttl_s if profile.customer.known else self._unknown_ttl_s)
        within_s = min(within_s, REDIS_TIMEOUT_S)
        if profile.holds_for_ms is not None:
            # The write may take as long as it is waited for.
            ttl_ms = min(ttl_ms, profile.holds_for_ms - int(within_s * 1000))
        if ttl_ms <= 0:
            return False
        async with _bounded("fill the profile cache", within_s):
            return bool(await self._redis.set(key, encode_profile(profile), nx=True, px=ttl_ms))

    @asynccontextmanager
    async def changing(self, customer_ids: Collection[str]) -> AsyncIterator[None]:
        """Guard a change of these customers, which must be committed when the block ends.

        Raises ``RedisUnavailable`` before the block if the cache cannot be cleared: nothing is changed then. Raises it
        after the block if it cannot be cleared again: the change is stored, but has to be repeated.
        """
        await self._bury(customer_ids, BEFORE_CHANGE_S)
        try:
            yield
        except BaseException:
            with suppress(RedisUnavailable):  # a failed commit may still have taken place
                await self._bury(customer_ids, AFTER_CHANGE_S)
            raise
        # An error here must reach the caller, who may not acknowledge a change that old profiles could outlive.
        await self._bury(customer_ids, AFTER_CHANGE_S)

    async def bury_all(self, pattern: str) -> None:
        """Make all cached profiles be read anew, after a change of what many of them depend on.

        ``pattern``: of their keys. Once at once, and once more in the background, since a read that began before the
        change may fill meanwhile: ``settled`` waits for that. Raises ``RedisUnavailable``: it has to be repeated.
        """
        await self._bury_matching(pattern)
        if self._later is not None:  # what is buried later still is enough for both
            self._later.cancel()
        self._later = asyncio.create_task(self._bury_later(pattern))

    async def settled(self) -> None:
        """Wait until nothing of before the last ``bury_all`` can be in the cache."""
        if self._later is not None:
            await asyncio.wait([self._later])

    async def _bury_later(self, pattern: str) -> None:
        await asyncio.sleep(FILL_WITHIN_S)
        with suppress(RedisUnavailable):  # then nothing was filled either
            await self._bury_matching(pattern)

    async def _bury_matching(self, pattern: str) -> None:
        cursor = 0
        while True:
            async with _bounded("clear the profile cache"):
                cursor, keys = await self._redis.scan(cursor, match=pattern, count=_SCAN_SIZE)
            for some in _batches(cast("list[str]", keys)):
                pipeline = self._redis.pipeline(transaction=False)
                for key in some:
                    pipeline.set(key, TOMBSTONE, ex=AFTER_CHANGE_S, xx=True)
                async with _bounded("clear the profile cache"):
                    await pipeline.execute()
            if not cursor:
                return

    async def _bury(self, customer_ids: Collection[str], ttl_s: int) -> None:
        for some in _batches(customer_ids):
            pipeline = self._redis.pipeline(transaction=False)
            for customer_id in some:
                # Half as costly as ``pipeline.set``, and bulk loads do this twice for every customer.
                pipeline.execute_command("SET", self._key_of(customer_id), TOMBSTONE, "EX", ttl_s)
            async with _bounded("clear the profile cache"):
                await pipeline.execute()

    async def _remove_if_still(self, key: str, value: bytes) -> None:
        async with self._redis.pipeline() as pipeline:
            await pipeline.watch(key)
            if await pipeline.get(key) == value:
                pipeline.multi()  # type: ignore[no-untyped-call]  # redis-py leaves this one method untyped
                pipeline.delete(key)
                with suppress(WatchError):  # somebody wrote to it: then it is theirs
                    await pipeline.execute()


@asynccontextmanager
async def _bounded(doing: str, timeout_s: float = REDIS_TIMEOUT_S) -> AsyncIterator[None]:
    async with redis_errors(doing), asyncio.timeout(timeout_s):
        yield


def _batches(customer_ids: Collection[str]) -> Iterator[Sequence[str]]:
    left = iter(customer_ids)
    while some := list(islice(left, _PIPELINE_SIZE)):
        yield some
