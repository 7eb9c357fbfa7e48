"""Entries about a customer in the streams of Redis that triggers deliver to, from where others read them."""

from typing import Any

from pydantic_core import from_json
from redis.asyncio import Redis

from storage.keys import OUTBOXES
from storage.redis import redis_errors

BATCH_SIZE = 500


class Outboxes:
    """The streams that something was ever delivered to. Methods raise ``RedisUnavailable``."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def erase(self, customer_id: str) -> int:
        """Delete the customer's entries; returns how many there were."""
        deleted = 0
        async with redis_errors():
            for stream in await self._redis.smembers(OUTBOXES):
                after = "-"
                while entries := await self._redis.xrange(stream, min=after, count=BATCH_SIZE):
                    theirs = [position for position, fields in entries if _is_about(fields, customer_id)]
                    if theirs:
                        deleted += await self._redis.xdel(stream, *theirs)
                    after = b"(" + entries[-1][0]
        return deleted


def _is_about(fields: dict[bytes, bytes], customer_id: str) -> bool:
    """Return whether an entry is about a customer; one that cannot be read is another's, who put it there."""
    try:
        message = from_json(fields.get(b"body", b""))
    except ValueError:
        return False
    data = message.get("data") if isinstance(message, dict) else None
    return isinstance(data, dict) and data.get("customer_id") == customer_id
