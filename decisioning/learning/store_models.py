"""Models of sequential policies in Redis: one owner at a time teaches, and stores what it has taught.

The owner holds a lease, which ends by itself if it is not renewed, and a token, which is higher for each owner. Whoever
was held up for so long that another has taken over cannot store anything any more: its token is not the newest. The
model is stored with the positions of the log up to which it was taught, in one step, so no outcome is taught twice or
not at all, whenever an owner dies.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from decisioning.model.position import StreamPosition
from storage.keys import Keys
from storage.redis import redis_errors


class ModelStore:
    """Ownership of models, and their storing. They are read with ``ArmStore.load``. Raises ``RedisUnavailable``."""

    def __init__(self, redis: "Redis", keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def own(self, policy: str, owner: str, ttl_ms: int) -> str | None:
        """Become or remain the owner for ``ttl_ms``; returns the token, ``None`` if somebody else is the owner."""
        async with redis_errors():
            token = await self._redis.fcall(
                "nb_own", 2, self._keys.lease(policy), self._keys.fence(policy), owner, ttl_ms
            )
        return token.decode() or None

    async def disown(self, policy: str, owner: str) -> bool:
        """Let somebody else become the owner at once. False if ``owner`` is not the owner."""
        async with redis_errors():
            reply = await self._redis.fcall("nb_disown", 1, self._keys.lease(policy), owner)
        return bool(reply == b"ok")

    async def replace(
        self,
        policy: str,
        token: str,
        expected_epoch: int,
        moves: Sequence[tuple[int, StreamPosition, StreamPosition]],
        model: bytes | None,
    ) -> int | None:
        """Store a model (``None``: it is unchanged) and move positions ``(bucket, expected, new)``, all or nothing.

        Returns the new epoch; ``None`` (and nothing has changed) if ``token`` is not the newest any more, or the stored
        epoch or a position is not the expected one.
        """
        arguments: list[Any] = [token, expected_epoch, len(moves)]
        arguments += [part for move in moves for part in move]
        keys = (self._keys.arms(policy), self._keys.changes(policy), self._keys.fence(policy))
        async with redis_errors():
            reply = await self._redis.fcall("nb_replace", 3, *keys, *arguments, model or b"")
        return int(reply[1]) if reply[0] == b"ok" else None
