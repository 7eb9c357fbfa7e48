"""Aliases, put back into Redis from Postgres, and the contacts that came of what they did."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from decisioning.merging.store_aliases import AliasStore
from decisioning.merging.store_handover import Handover
from storage.keys import Keys
from storage.redis import redis_errors


class AliasRestorer:
    """Works beside a running system. Methods raise ``RedisUnavailable`` and ``PostgresUnavailable``."""

    def __init__(self, aliases: AliasStore, redis: "Redis", keys: Keys, clock_ms: Callable[[], int]) -> None:
        self._aliases = aliases
        self._redis: Any = redis
        self._keys = keys
        self._clock_ms = clock_ms
        self._handover = Handover(redis, keys)

    async def redirect(self) -> tuple[int, datetime | None]:
        """Put back all redirects; returns what was known of aliases before, which changes with each new one."""
        known = await self._aliases.newest()
        async for part in self._aliases.all():
            await self._handover.redirect([(one.alias, one.customer_id) for one in part], self._clock_ms())
        return known

    async def hand_over(self) -> None:
        """Hand over all contacts of aliases anew, whatever is noted of that: it may be gone on one side alone."""
        async for part in self._aliases.all():
            names = [one.alias for one in part]
            async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.exists(self._keys.contact(name))
                found = await pipe.execute()
            for name, has_any in zip(names, found, strict=True):
                if has_any:
                    await self._handover.hand_over_contacts(name, again=True)
