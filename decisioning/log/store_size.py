"""The figures of an installation from which the memory of its Redis is computed: held, and asked."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.errors import RedisUnavailable
from storage.keys import Keys, bucket_of_generated
from storage.postgres import transaction
from storage.redis import redis_errors

KINDS = ("decision", "profile", "contact", "owner")
TABLE_BYTES = 40
"""A key's places in the server's tables of keys and of times, which ``MEMORY USAGE`` leaves out."""
SAMPLED_KEYS = 2_000
SAMPLED_DECISIONS = 5_000

_COUNTS = """
SELECT (SELECT count(*) FROM decisions WHERE decided_at > now() - interval '1 day') AS decisions,
    (SELECT count(*) FROM outcomes WHERE decided_at > now() - interval '1 day') AS outcomes
"""
_LATEST = """
SELECT decision_id, header ->> 'placement' AS placement, octet_length(header::text)
    + octet_length(candidates) + octet_length(priors) + coalesce(octet_length(factors), 0) AS bytes
FROM decisions WHERE decided_at > now() - interval '1 day' ORDER BY decided_at DESC LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class KeysOfKind:
    """Keys of a kind in Redis, estimated from a sample of ``sampled`` of them; ``bytes_each`` is their mean size."""

    count: int = 0
    bytes_each: float = 0.0
    sampled: int = 0


@dataclass(frozen=True, slots=True)
class LastDay:
    """Decisions and outcomes of a day, as archived, and what the latest decisions are like.

    ``placements``: the share of each. ``own_ids``: the share with ids of callers' own. ``record_bytes``: in the log.
    """

    decisions: int
    outcomes: int
    placements: Mapping[str, float]
    own_ids: float
    record_bytes: float


async def read_last_day(engine: AsyncEngine) -> LastDay:
    """Read what was decided in the last 24 hours. Raises ``PostgresUnavailable``."""
    async with transaction(engine) as connection:
        counts = (await connection.execute(text(_COUNTS))).one()
        latest = (await connection.execute(text(_LATEST), {"limit": SAMPLED_DECISIONS})).all()
    placements: dict[str, float] = defaultdict(float)
    for row in latest:
        placements[row.placement] += 1 / len(latest)
    own_ids = sum(bucket_of_generated(row.decision_id) is None for row in latest)
    total = max(len(latest), 1)
    return LastDay(
        counts.decisions,
        counts.outcomes,
        placements,
        own_ids / total,
        sum(row.bytes for row in latest) / total,
    )


class SizeReader:
    """Reads sizes from Redis. Methods raise ``RedisUnavailable``."""

    def __init__(self, redis: "Redis", keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def by_kind(self) -> dict[str, KeysOfKind]:
        """Estimate how many keys there are of each of ``KINDS``, and their size, from keys drawn at random."""
        async with redis_errors():
            total = int(await self._redis.dbsize())
            drawn = await self._each("randomkey", [()] * SAMPLED_KEYS)
            names = [name for name in drawn if name is not None]
            sizes = await self._each("memory_usage", [(name,) for name in names])
        found: dict[str, list[int]] = {kind: [] for kind in KINDS}
        for name, size in zip(names, sizes, strict=True):
            kind = name.decode(errors="replace").split(":")[2:3]
            if size is not None and kind and kind[0] in found:
                found[kind[0]].append(size + TABLE_BYTES)
        return {
            kind: KeysOfKind(
                round(total * len(sizes) / max(len(names), 1)), sum(sizes) / max(len(sizes), 1), len(sizes)
            )
            for kind, sizes in found.items()
        }

    async def arms(self, policies: list[str]) -> int:
        """Return the bytes of the arms of these policies, and of the streams of their changes."""
        names = [(name,) for key in policies for name in (self._keys.arms(key), self._keys.changes(key))]
        async with redis_errors():
            return sum(size or 0 for size in await self._each("memory_usage", names))

    async def server(self) -> tuple[int, int]:
        """Return the bytes that the server uses, and its ``hash-max-listpack-value`` (0 if it does not tell)."""
        async with redis_errors():
            used = int((await self._redis.info("memory"))["used_memory"])
        try:
            async with redis_errors():
                told = await self._redis.config_get("hash-max-listpack-value")
        except RedisUnavailable:  # hosted servers may not let it be read
            told = {}
        return used, int(told.get("hash-max-listpack-value", 0))

    async def _each(self, command: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for of_one in arguments:
                getattr(pipe, command)(*of_one)
            return list(await pipe.execute())
