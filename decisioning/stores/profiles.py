"""Profiles for the path of a decision: from the cache's blob, or from Postgres."""

import asyncio
from collections.abc import Callable, Mapping

from decisioning.errors import PostgresUnavailable, RedisUnavailable
from decisioning.keys import Keys
from decisioning.stores.pipe import Pipe
from profiles.codec import decode, encode
from profiles.customer import Profile
from profiles.errors import ProfileCodecError, ProfilesUnavailable
from profiles.stores import ProfileStore


class CachedProfiles:
    """Implements ``service.ports.ProfileSource``. ``numbers`` gives the live mapping of offer ids to numbers."""

    def __init__(
        self,
        store: ProfileStore,
        pipe: Pipe,
        keys: Keys,
        numbers: Callable[[], Mapping[str, int]],
        ttl_s: int,
    ) -> None:
        self._store = store
        self._pipe = pipe
        self._keys = keys
        self._numbers = numbers
        self._ttl_s = ttl_s

    def decode(self, blob: bytes) -> Profile | None:
        """A cached profile; ``None`` if the blob is a tombstone or cannot be read."""
        try:
            return decode(blob)
        except ProfileCodecError:
            return None

    async def load(self, customer_id: str) -> Profile | None:
        """From Postgres; ``None`` if the customer is not known. Raises ``PostgresUnavailable``."""
        try:
            return await self._store.load(customer_id, self._numbers())
        except ProfilesUnavailable as error:
            raise PostgresUnavailable(str(error)) from error

    def cache(self, customer_id: str, profile: Profile) -> None:
        """Fill the cache, unless something is there: a newer value, or the mark of a change under way."""
        try:
            reply = self._pipe.call(
                "SET", self._keys.profile(customer_id), encode(profile), "NX", "EX", self._ttl_s
            )
        except RedisUnavailable:
            return
        reply.add_done_callback(_forget)


def _forget(reply: "asyncio.Future[object]") -> None:
    if not reply.cancelled():
        reply.exception()
