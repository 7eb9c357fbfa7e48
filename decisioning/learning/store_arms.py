"""Arms and models in Redis: loaded, folded into, reset, replaced, and the stream of their changes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import WatchError

from bandits.policy import FloatArray
from bandits.state import encode_state
from decisioning.model.position import StreamPosition
from storage.functions import function_name
from storage.keys import Keys
from storage.redis import read_streams, redis_errors

GENERATION = 10**9
"""Each reset of arms begins a new generation of epochs: a multiple of this. No epoch that was ever given out, and
perhaps lost with Redis, comes again with other sums."""


@dataclass(frozen=True, slots=True)
class Arms:
    """A policy's stored arms: epoch, folded positions by bucket, and fields in their stored form."""

    epoch: int
    positions: dict[int, StreamPosition]
    fields: dict[str, bytes]

    @property
    def generation(self) -> int:
        """The number of their generation: higher after each reset."""
        return self.epoch // GENERATION


@dataclass(frozen=True, slots=True)
class ArmChange:
    """One fold as it was pushed: its epoch, the positions that it moved, the fields' new values."""

    epoch: int
    reset: bool
    positions: dict[int, StreamPosition]
    fields: dict[str, bytes]


class _Store:
    def __init__(self, redis: "Redis", keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def _function(self, name: str, keys: Sequence[str], *arguments: Any) -> Any:
        async with redis_errors():
            return await self._redis.fcall(function_name(name), len(keys), *keys, *arguments)


class ArmStore(_Store):
    """Arms in Redis. Every change goes through ``nb_fold``, ``nb_put`` or ``nb_reset``."""

    async def load(self, policy: str) -> Arms | None:
        """Load the arms of ``name@version`` at one moment; ``None`` if there are none."""
        async with redis_errors():
            stored: dict[bytes, bytes] = await self._redis.hgetall(self._keys.arms(policy))
        if b"epoch" not in stored:
            return None
        return Arms(
            int(stored.pop(b"epoch")),
            {int(k[1:]): StreamPosition(v.decode()) for k, v in stored.items() if k.startswith(b"@")},
            {k.decode(): v for k, v in stored.items() if not k.startswith(b"@")},
        )

    async def load_positions(self, policy: str) -> dict[int, StreamPosition]:
        """Read up to which position each bucket's log has been folded into the arms of ``name@version``."""
        fields = [f"@{bucket}" for bucket in range(self._keys.buckets)]
        async with redis_errors():
            stored = await self._redis.hmget(self._keys.arms(policy), fields)
        return {
            b: StreamPosition(position.decode()) for b, position in enumerate(stored) if position is not None
        }

    async def load_epoch(self, policy: str) -> int | None:
        """The epoch of the arms of ``name@version``; ``None`` if there are none."""
        async with redis_errors():
            epoch = await self._redis.hget(self._keys.arms(policy), "epoch")
        return None if epoch is None else int(epoch)

    async def fold(
        self,
        policy: str,
        generation: int,
        moves: Sequence[tuple[int, StreamPosition, StreamPosition]],
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
        reply = await self._function("nb_fold", self._pair(policy), *arguments)
        return bool(reply[0] == b"ok")

    async def put(
        self,
        policy: str,
        epoch: int,
        moves: Sequence[tuple[int, StreamPosition, StreamPosition]],
        states: Mapping[str, bytes],
    ) -> bool:
        """Store ``states``, which follow from the arms at ``epoch``, and move positions; all or nothing.

        False if the arms are at another epoch, if a position is not the expected one, or if there are no arms. Redis
        adds nothing up here, which for large arms is most of the time of a fold.
        """
        arguments: list[Any] = [epoch, len(moves), *(part for move in moves for part in move)]
        arguments += (part for pair in states.items() for part in pair)
        reply = await self._function("nb_put", self._pair(policy), *arguments)
        return bool(reply[0] == b"ok")

    async def reset(self, policy: str, expected_epoch: int | None, arms: Arms) -> bool:
        """Replace all arms. False if the epoch is not the expected one (``None``: there must be no arms)."""
        expected = -1 if expected_epoch is None else expected_epoch
        positions = ",".join(f"{b} {p}" for b, p in sorted(arms.positions.items()))
        fields = (part for pair in arms.fields.items() for part in pair)
        reply = await self._function("nb_reset", self._pair(policy), expected, arms.epoch, positions, *fields)
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

    async def drop_fields(self, policy: str, fields: Sequence[str]) -> None:
        """Delete fields that nobody reads any more: those of periods that count as nothing."""
        async with redis_errors():
            await self._redis.hdel(self._keys.arms(policy), *fields)

    async def changes(
        self, epochs: Mapping[str, int], *, count: int, block_ms: int | None
    ) -> dict[str, Iterator[ArmChange]]:
        """Read up to ``count`` folds of each policy behind its epoch, in order; waits up to ``block_ms`` for one.

        Policies without such folds are left out. Each fold is parsed as it is taken, so that a damaged one concerns
        its policy alone.
        """
        policies = {self._keys.changes(policy).encode(): policy for policy in epochs}
        behind = {self._keys.changes(policy): f"{epoch}-1" for policy, epoch in epochs.items()}
        async with redis_errors():
            reply = await read_streams(self._redis, behind, count=count, block_ms=block_ms)
        return {policies[key]: starmap(_change, entries) for key, entries in reply}

    async def trim_changes(self, policy: str, epoch: int) -> None:
        """Forget changes before ``epoch``."""
        async with redis_errors():
            await self._redis.xtrim(self._keys.changes(policy), minid=f"{max(epoch, 0)}-1", approximate=True)

    def _pair(self, policy: str) -> tuple[str, str]:
        return self._keys.arms(policy), self._keys.changes(policy)


def _change(position: bytes, fields: Mapping[bytes, bytes]) -> ArmChange:
    pairs: Iterable[str] = fields[b"p"].decode().split(",") if fields[b"p"] else ()
    positions = {int(b): StreamPosition(p) for b, _, p in (pair.partition(" ") for pair in pairs)}
    states = {k.decode(): v for k, v in fields.items() if k not in (b"p", b"reset")}
    return ArmChange(StreamPosition(position.decode()).at_ms, b"reset" in fields, positions, states)


class ModelStore(_Store):
    """Models of sequential policies in Redis: one owner at a time teaches, and stores what it has taught.

    The owner holds a lease, which ends by itself if it is not renewed, and a token, which is higher for each owner.
    Models are read with ``ArmStore.load``. Raises ``RedisUnavailable``.
    """

    async def own(self, policy: str, owner: str, ttl_ms: int) -> str | None:
        """Become or remain the owner for ``ttl_ms``; returns the token, ``None`` if somebody else is the owner."""
        keys = (self._keys.lease(policy), self._keys.fence(policy))
        token = await self._function("nb_own", keys, owner, ttl_ms)
        return token.decode() or None

    async def disown(self, policy: str, owner: str) -> bool:
        """Let somebody else become the owner at once. False if ``owner`` is not the owner."""
        return bool(await self._function("nb_disown", (self._keys.lease(policy),), owner) == b"ok")

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
        # The token fences off an owner that was held up for so long that another has taken over. Model and positions
        # are stored in one step, so no outcome is taught twice or not at all, whenever an owner dies.
        keys = (self._keys.arms(policy), self._keys.changes(policy), self._keys.fence(policy))
        parts = (part for move in moves for part in move)
        reply = await self._function(
            "nb_replace", keys, token, expected_epoch, len(moves), *parts, model or b""
        )
        return int(reply[1]) if reply[0] == b"ok" else None
