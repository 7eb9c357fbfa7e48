"""The log's other side: what background jobs read, fold, expire and trim."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, WatchError

from bandits.policy import FloatArray
from bandits.state import encode_state
from decisioning.errors import RedisUnavailable
from decisioning.keys import Keys
from decisioning.records import Decided, Outcome, parse_entry

START = "0-0"

GENERATION = 10**9
"""Each reset of arms begins a new generation of epochs: a multiple of this. No epoch that was ever given out, and
perhaps lost with Redis, comes again with other sums."""


def make_redis(url: str, *, timeout_s: float = 10.0) -> "Redis":
    """A client for background work (the path of a decision has its own, see ``pipe``).

    It never sends a command again by itself: whoever reads on after Redis was restarted must know that it was, because
    what comes then may not follow on what came before.
    """
    return Redis.from_url(
        url,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
    )


@asynccontextmanager
async def redis_errors() -> AsyncIterator[None]:
    """Raise ``RedisUnavailable`` for what the driver raises."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise RedisUnavailable(f"redis did not answer: {error}") from error


def order(position: str) -> tuple[int, int]:
    """A stream position as a pair that compares as Redis does."""
    at_ms, _, sequence = position.partition("-")
    return int(at_ms), int(sequence or 0)


@dataclass(slots=True)
class Batch:
    """Entries of several buckets: the last position of each, and what they say."""

    last: dict[int, str] = field(default_factory=dict)
    decided: list[Decided] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.decided) + len(self.outcomes)


class LogReader:
    """Reads the streams of all buckets."""

    def __init__(self, redis: "Redis", keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys
        self._buckets = {keys.log(bucket).encode(): bucket for bucket in range(keys.buckets)}

    async def read(
        self, positions: Mapping[int, str], *, count: int, block_ms: int | None, decisions: bool
    ) -> Batch:
        """Up to ``count`` entries of each bucket behind ``positions`` (missing means from the start).

        Waits up to ``block_ms`` for something to come. ``decisions=False`` leaves decisions unparsed and out.

        Raises
        ------
        RedisUnavailable
            If Redis does not answer.
        LogCodecError
            If an entry cannot be read.
        """
        streams = {self._keys.log(b): positions.get(b, START) for b in range(self._keys.buckets)}
        async with redis_errors():
            reply = await self._redis.xread(streams, count=count, block=block_ms)
        batch = Batch()
        for key, entries in reply or []:
            bucket = self._buckets[key]
            for position, fields in entries:
                kind = fields[b"t"]
                if kind == b"start" or (kind == b"decided" and not decisions):
                    continue
                parsed = parse_entry(bucket, position.decode(), fields)
                if isinstance(parsed, Decided):
                    batch.decided.append(parsed)
                else:
                    batch.outcomes.extend(parsed)
            batch.last[bucket] = entries[-1][0].decode()
        return batch

    async def last_positions(self) -> dict[int, str]:
        """The last position that each bucket's stream has given out; missing if there is no stream."""
        return {bucket: last for bucket in range(self._keys.buckets) if (last := await self._last(bucket))}

    async def _last(self, bucket: int) -> str | None:
        async with redis_errors():
            if not await self._redis.exists(self._keys.log(bucket)):
                return None
            info = await self._redis.xinfo_stream(self._keys.log(bucket))
        return str(info["last-generated-id"].decode())

    async def ends(self) -> dict[int, str]:
        """The position of the last entry of each bucket that has one; quicker than ``last_positions``."""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket in range(self._keys.buckets):
                pipe.xrevrange(self._keys.log(bucket), count=1)
            replies = await pipe.execute()
        return {bucket: entries[0][0].decode() for bucket, entries in enumerate(replies) if entries}

    async def without(self, positions: Mapping[int, str]) -> set[int]:
        """The buckets whose stream has no entry at the given position.

        The entry at the archived position is kept by ``trim`` until a later one is archived, so a stream without it
        has lost its end.
        """
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket, position in positions.items():
                pipe.xrange(self._keys.log(bucket), position, position)
            replies = await pipe.execute()
        return {bucket for bucket, entries in zip(positions, replies, strict=True) if not entries}

    async def whole(self, bucket: int) -> tuple[str, list[tuple[str, Decided | list[Outcome]]]]:
        """The last position that a bucket's stream has given out, and its entries by position up to there."""
        last = await self._last(bucket)
        if last is None:
            return START, []
        async with redis_errors():
            entries = await self._redis.xrange(self._keys.log(bucket), "-", last)
        return last, [
            (position.decode(), parse_entry(bucket, position.decode(), fields))
            for position, fields in entries
            if fields[b"t"] != b"start"
        ]

    async def resume(self, bucket: int, last: str, position: str, keep: Sequence[str]) -> bool:
        """Make a stream go on behind ``position``, with those of its entries that are named in ``keep``.

        False, and nothing changed, if ``last`` is not the last position that the stream has given out.
        """
        async with redis_errors():
            reply = await self._redis.fcall("nb_resume", 1, self._keys.log(bucket), last, position, *keep)
        return bool(reply == b"ok")

    async def trim(self, positions: Mapping[int, str]) -> None:
        """Forget entries before ``positions``."""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket, position in positions.items():
                pipe.xtrim(self._keys.log(bucket), minid=position, approximate=True)
            await pipe.execute()

    async def due(self, now_ms: int, limit: int) -> list[tuple[int, str]]:
        """Decisions whose reward window is over: ``(bucket, decision id)``, at most ``limit`` a bucket."""
        return await self._due(self._keys.pending, f"({now_ms}", limit)

    async def unconfirmed(self, now_ms: int, limit: int) -> list[tuple[int, str]]:
        """Decisions of which nobody said in time that they were presented, as for ``due``."""
        return await self._due(self._keys.unconfirmed, str(now_ms), limit)

    async def _due(self, key_of: Callable[[int], str], until: str, limit: int) -> list[tuple[int, str]]:
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket in range(self._keys.buckets):
                pipe.zrange(key_of(bucket), "-inf", until, byscore=True, offset=0, num=limit)
            replies = await pipe.execute()
        return [(bucket, name.decode()) for bucket, names in enumerate(replies) for name in names]

    async def release(self, due: Sequence[tuple[int, str]], now_ms: int) -> int:
        """Give back what unconfirmed decisions reserved; returns how many gave something back by this call."""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket, name in due:
                keys = (
                    self._keys.decision(bucket, name),
                    self._keys.log(bucket),
                    self._keys.unconfirmed(bucket),
                    self._keys.contacts(bucket),
                )
                pipe.fcall("nb_release", len(keys), *keys, name, now_ms)
            return sum(reply == b"released" for reply in await pipe.execute())

    async def expire(self, due: Sequence[tuple[int, str]], now_ms: int, grace_ms: int) -> int:
        """Close decisions; returns how many were closed by this call."""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket, name in due:
                keys = (
                    self._keys.decision(bucket, name),
                    self._keys.log(bucket),
                    self._keys.pending(bucket),
                    self._keys.unconfirmed(bucket),
                    self._keys.contacts(bucket),
                )
                pipe.fcall("nb_expire", len(keys), *keys, name, now_ms, grace_ms)
            return sum(reply == b"expired" for reply in await pipe.execute())


@dataclass(frozen=True, slots=True)
class Arms:
    """A policy's stored arms: epoch, folded positions by bucket, and fields in their stored form."""

    epoch: int
    positions: dict[int, str]
    fields: dict[str, bytes]

    @property
    def generation(self) -> int:
        """How often these arms have been reset."""
        return self.epoch // GENERATION


@dataclass(frozen=True, slots=True)
class Change:
    """One fold as it was pushed: its epoch, the positions that it moved, the fields' new values."""

    epoch: int
    reset: bool
    positions: dict[int, str]
    fields: dict[str, bytes]


class ArmStore:
    """Arms in Redis. Every change goes through ``nb_fold`` or ``nb_reset``."""

    def __init__(self, redis: "Redis", keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def load(self, policy: str) -> Arms | None:
        """The arms of ``name@version`` at one moment; ``None`` if there are none."""
        async with redis_errors():
            stored: dict[bytes, bytes] = await self._redis.hgetall(self._keys.arms(policy))
        if b"epoch" not in stored:
            return None
        return Arms(
            int(stored.pop(b"epoch")),
            {int(k[1:]): v.decode() for k, v in stored.items() if k.startswith(b"@")},
            {k.decode(): v for k, v in stored.items() if not k.startswith(b"@")},
        )

    async def load_positions(self, policy: str) -> dict[int, str]:
        """How far each bucket's log has been folded into the arms of ``name@version``."""
        fields = [f"@{bucket}" for bucket in range(self._keys.buckets)]
        async with redis_errors():
            stored = await self._redis.hmget(self._keys.arms(policy), fields)
        return {bucket: position.decode() for bucket, position in enumerate(stored) if position is not None}

    async def load_epoch(self, policy: str) -> int | None:
        """The epoch of the arms of ``name@version``; ``None`` if there are none."""
        async with redis_errors():
            epoch = await self._redis.hget(self._keys.arms(policy), "epoch")
        return None if epoch is None else int(epoch)

    async def fold(
        self,
        policy: str,
        generation: int,
        moves: Sequence[tuple[int, str, str]],
        deltas: Mapping[str, FloatArray],
    ) -> bool:
        """Add ``deltas`` and move positions ``(bucket, expected, new)``; all or nothing.

        False if the arms were reset since ``generation``, if a position is not the expected one, or if there are no
        arms: then nothing has changed.
        """
        arguments: list[Any] = [generation * GENERATION, (generation + 1) * GENERATION]
        arguments += [len(moves), *(part for move in moves for part in move)]
        for name, delta in deltas.items():
            arguments += [name, encode_state(delta)]
        async with redis_errors():
            reply = await self._redis.fcall(
                "nb_fold", 2, self._keys.arms(policy), self._keys.changes(policy), *arguments
            )
        return bool(reply[0] == b"ok")

    async def reset(self, policy: str, expected_epoch: int | None, arms: Arms) -> bool:
        """Replace all arms. False if the epoch is not the expected one (``None``: there must be no arms)."""
        arguments: list[Any] = [
            -1 if expected_epoch is None else expected_epoch,
            arms.epoch,
            ",".join(f"{b} {p}" for b, p in sorted(arms.positions.items())),
        ]
        for name, blob in arms.fields.items():
            arguments += [name, blob]
        async with redis_errors():
            reply = await self._redis.fcall(
                "nb_reset", 2, self._keys.arms(policy), self._keys.changes(policy), *arguments
            )
        return bool(reply == b"ok")

    async def forget(self, policy: str, epoch: int) -> bool:
        """Delete all arms. False, and nothing is deleted, if they are not at ``epoch``."""
        key = self._keys.arms(policy)
        async with redis_errors(), self._redis.pipeline() as pipe:
            await pipe.watch(key)
            stored = await pipe.hget(key, "epoch")
            if stored is None or int(stored) != epoch:
                return False
            pipe.multi()
            pipe.delete(key, self._keys.changes(policy))
            try:
                await pipe.execute()
            except WatchError:
                return False
        return True

    async def changes(self, policy: str, epoch: int, *, count: int, block_ms: int | None) -> list[Change]:
        """Folds after ``epoch``, in order; waits up to ``block_ms`` for one."""
        async with redis_errors():
            reply = await self._redis.xread(
                {self._keys.changes(policy): f"{epoch}-1"}, count=count, block=block_ms
            )
        return [_change(position, fields) for _, entries in reply or [] for position, fields in entries]

    async def trim_changes(self, policy: str, epoch: int) -> None:
        """Forget changes before ``epoch``."""
        async with redis_errors():
            await self._redis.xtrim(self._keys.changes(policy), minid=f"{max(epoch, 0)}-1", approximate=True)


def _change(position: bytes, fields: Mapping[bytes, bytes]) -> Change:
    pairs: Iterable[str] = fields[b"p"].decode().split(",") if fields[b"p"] else ()
    positions = {int(b): p for b, _, p in (pair.partition(" ") for pair in pairs)}
    states = {k.decode(): v for k, v in fields.items() if k not in (b"p", b"reset")}
    return Change(order(position.decode())[0], b"reset" in fields, positions, states)
