"""Comparing what was reserved in households with what became of the decisions, in the background."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from decisioning.log.owners import GRACE_MS
from storage.functions import function_name
from storage.keys import Keys
from storage.redis import redis_errors


@dataclass(frozen=True, slots=True)
class Reservation:
    """A decision that reserved contacts in a household of ``household_bucket``, and when to compare them (Unix ms)."""

    household_bucket: int
    note: bytes
    due_ms: int

    @property
    def parts(self) -> tuple[int, str, str]:
        """The bucket of the decision, its id, and the household."""
        bucket, decision_id, household_id = self.note.decode().split(" ", 2)
        return int(bucket), decision_id, household_id


class Reservations:
    """Takes back contacts that were reserved for what was not decided, or was given back. Any number may run."""

    def __init__(self, redis: "Redis", keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def settle_due(self, now_ms: int, limit: int) -> bool:
        """Compare up to ``limit`` reservations of each bucket that are due; returns whether more may be due.

        Raises ``RedisUnavailable``.
        """
        due = await self._due(now_ms, limit)
        done = await self._settle(due, await self._standing(due), now_ms) if due else set()
        found = Counter(one.household_bucket for one in due)
        return any(found[bucket] == limit for bucket in done)

    async def _due(self, now_ms: int, limit: int) -> list[Reservation]:
        buckets = range(self._keys.buckets)
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket in buckets:
                names = self._keys.reservations(bucket)
                pipe.zrange(names, "-inf", now_ms, byscore=True, offset=0, num=limit, withscores=True)
            replies = await pipe.execute()
        return [
            Reservation(bucket, note, int(due_ms))
            for bucket, found in zip(buckets, replies, strict=True)
            for note, due_ms in found
        ]

    async def _standing(self, due: Sequence[Reservation]) -> list[list[bytes]]:
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for one in due:
                bucket, decision_id, _ = one.parts
                keys = (
                    self._keys.decision(bucket, decision_id),
                    self._keys.unconfirmed(bucket),
                    self._keys.whole(bucket),
                )
                pipe.fcall(function_name("nb_standing"), len(keys), *keys, decision_id, one.due_ms)
            return list(await pipe.execute())

    async def _settle(
        self, due: Sequence[Reservation], replies: Sequence[list[bytes]], now_ms: int
    ) -> set[int]:
        """Take away what does not stand; returns the buckets of households where something is not due any more."""
        done = set()
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for one, (status, *found) in zip(due, replies, strict=True):
                _, decision_id, household_id = one.parts
                names = self._keys.reservations(one.household_bucket)
                if status == b"early":
                    continue
                if status == b"gone" and now_ms - one.due_ms > GRACE_MS / 2:
                    # It may have been written, and have left Redis since: its contacts count.
                    pipe.zrem(names, one.note)
                    done.add(one.household_bucket)
                    continue
                again, *members = found or [b""]
                if not again or int(again) > now_ms:
                    done.add(one.household_bucket)
                keys = (self._keys.household(household_id), names)
                arguments = (one.note, one.due_ms, decision_id, again, *members)
                pipe.fcall(function_name("nb_settle_household"), len(keys), *keys, *arguments)
            await pipe.execute()
        return done
