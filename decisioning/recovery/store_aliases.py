"""Aliases, put back into Redis from Postgres, and the contacts that came of what they did."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from redis.asyncio import Redis

from decisioning.merging.store_aliases import Alias, AliasStore
from decisioning.merging.store_handover import Handover
from storage.clock import HOUR_MS, to_datetime
from storage.keys import Keys
from storage.redis import redis_errors

RECENT_MS = 24 * HOUR_MS
"""Longer than a rebuild takes, and than any clock is wrong."""


class AliasRestorer:
    """Works beside a running system. Methods raise ``RedisUnavailable`` and ``PostgresUnavailable``."""

    def __init__(self, aliases: AliasStore, redis: "Redis", keys: Keys, clock_ms: Callable[[], int]) -> None:
        self._aliases = aliases
        self._redis: Any = redis
        self._keys = keys
        self._clock_ms = clock_ms
        self._handover = Handover(redis, keys)

    async def redirect(self) -> None:
        """Put back all redirects."""
        async for part in self._aliases.all():
            await self._redirect(part)

    async def _redirect(self, part: Sequence[Alias]) -> None:
        redirects = [(one.alias, one.customer_id, one.household_id) for one in part]
        await self._handover.redirect(redirects, self._clock_ms())

    async def recent(self) -> dict[str, Alias]:
        """Read the aliases of the last while, by their names."""
        return {
            one.alias: one for one in await self._aliases.since(to_datetime(self._clock_ms() - RECENT_MS))
        }

    async def merged_beside(self, new: Collection[Alias], names: Collection[str] | None) -> set[str]:
        """Find of whom some aliases have become part, if either was put back meanwhile, with all names of these.

        ``names``: those who were put back; ``None`` if all were.
        """
        roots = set()
        for one in new:
            root = (await self._aliases.chain(one.alias))[0]
            if names is None or not {one.alias, one.customer_id, root}.isdisjoint(names):
                roots.add(root)
        aliases = await self._aliases.of_all(list(roots)) if roots else {}
        return roots.union(*aliases.values())

    async def hand_over(self, those: Sequence[Alias] | None = None) -> None:
        """Hand over all contacts of aliases anew, whatever is noted of that: it may be gone on one side alone.

        ``those``: of these alone, if they are given.
        """
        if those is not None:
            await self._hand_over(those)
            return
        async for part in self._aliases.all():
            await self._hand_over(part)

    async def _hand_over(self, part: Sequence[Alias]) -> None:
        names = [one.alias for one in part]
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.exists(self._keys.contact(name))
            found = await pipe.execute()
        for name, has_any in zip(names, found, strict=True):
            if has_any:
                await self._handover.hand_over_contacts(name, again=True)
