"""Profiles for the path of a decision: from the cache's blob, or from Postgres."""

import asyncio
import time
from collections.abc import Callable, Mapping

from profiles.customer import Profile
from profiles.store import ProfileStore
from storage.errors import RedisUnavailable


class CachedProfiles:
    """Loads profiles that the cache does not have (a ``ProfileSource``).

    ``numbers`` gives the live mapping of offer ids to numbers.
    """

    def __init__(self, store: ProfileStore, numbers: Callable[[], Mapping[str, int]]) -> None:
        self._store = store
        self._numbers = numbers
        self._fills: set[asyncio.Task[None]] = set()

    async def load(self, customer_id: str, *, fill: bool) -> Profile:
        """From Postgres; with ``fill`` it is cached in the background. Raises ``PostgresUnavailable``.

        For a visitor who is an alias it is the customer's, and says so.
        """
        started_s = time.monotonic()
        customer_id = await self._store.stands_for(customer_id)
        profile = await self._store.load(customer_id, self._numbers())
        if profile is None:
            profile = Profile.unknown(customer_id)
        if fill:
            task = asyncio.create_task(self._fill(profile, started_s))
            self._fills.add(task)
            task.add_done_callback(self._fills.discard)
        return profile

    async def _fill(self, profile: Profile, started_s: float) -> None:
        try:
            await self._store.fill(profile, started_s)
        except RedisUnavailable:
            return  # the next reader tries again
