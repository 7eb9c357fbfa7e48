"""The server-side steps in Redis: a library for each version of them, loaded beside those of other versions.

Old and new processes run side by side, and steps of one version need not understand the arguments of another. So the
names of a library and of its functions carry a version, derived from their source, and nothing that starts replaces
what others use. Each process notes again and again, in one hash, when its version was last used; a worker removes
libraries of which that is long ago.
"""

import re
import time
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, ResponseError, WatchError

from storage.clock import DAY_MS
from storage.errors import RedisUnavailable
from storage.keys import FUNCTIONS
from storage.redis import redis_errors

LIBRARY = "nextbest"
VERSIONED = re.compile(rf"{LIBRARY}_[0-9a-f]{{8}}")
"""Names of libraries. One without a version is of a build that noted no use, and is left alone."""
NOTE_EVERY_S = 600.0
RECENTLY_MS = int(2 * NOTE_EVERY_S * 1000)
"""A version whose use was noted so long ago at most may be in use."""
UNUSED_MS = DAY_MS
"""A library that nobody has used for so long is removed."""


@dataclass(frozen=True, slots=True)
class Library:
    """A version of the function library: its name, and its code as Redis gets it."""

    version: str
    code: str

    @classmethod
    def of(cls, source: str) -> Self:
        """Give the library and all functions of a source names that carry the version of that source."""
        version = blake2b(source.encode(), digest_size=4).hexdigest()
        code = source.replace(f"#!lua name={LIBRARY}", f"#!lua name={LIBRARY}_{version}", 1)
        # Both ways to register one: with its name, and with a table that has it.
        named = re.compile(r"(register_function(?:\(|\{ function_name = )'\w+)'")
        return cls(version, named.sub(rf"\1_{version}'", code))

    @property
    def name(self) -> str:
        """The name under which Redis knows the library."""
        return f"{LIBRARY}_{self.version}"


def library_source() -> str:
    """Read the function library: one chunk, kept in several files that follow each other by name."""
    parts = sorted(files("storage").joinpath("lua").iterdir(), key=lambda part: part.name)
    return "\n".join(part.read_text(encoding="utf-8") for part in parts if part.name.endswith(".lua"))


OURS = Library.of(library_source())


def library_code() -> str:
    """Return this version's library as it is loaded."""
    return OURS.code


def function_name(name: str) -> str:
    """Return the name under which Redis knows a function of this version, such as ``nb_decide_0a1b2c3d``."""
    return f"{name}_{OURS.version}"


async def load_functions(redis: "Redis", *, only_if_missing: bool = False) -> None:
    """Note that this version is in use, and put its function library in place; others stay as they are.

    Raises ``RedisUnavailable``, also if Redis has no functions (they came with Redis 7 and Valkey 7.2).
    """
    # The note comes first: see remove_unused.
    await _note_use(redis)
    await _load(redis, only_if_missing)


async def _note_use(redis: Any) -> None:
    async with redis_errors():
        now_ms = await _server_ms(redis)
        try:
            await redis.hset(FUNCTIONS, OURS.name, now_ms)
        except OutOfMemoryError:
            # A Redis that is full takes no plain write. It has to drain, which needs the functions that it has.
            await redis.fcall(function_name("nb_note_use"), 1, FUNCTIONS, OURS.name, now_ms)


async def _load(redis: "Redis", only_if_missing: bool) -> None:
    async with redis_errors():
        if only_if_missing and await redis.function_list(library=OURS.name):
            return
        try:
            await redis.function_load(library_code(), replace=True)
        except OutOfMemoryError:
            if not await redis.function_list(library=OURS.name):
                raise


class FunctionKeeper:
    """Keeps this version's functions in Redis for as long as its process runs. Methods raise ``RedisUnavailable``."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._noted_s = -NOTE_EVERY_S
        self.has_others = True
        """True if processes of other versions may be running. They note their use before they do anything else."""
        self.fault: str | None = None
        """Why this server cannot have functions, and what to do; ``None`` if it can, or nothing is known."""

    async def keep(self) -> None:
        """Load the library again should Redis have lost it, and note now and then that it is in use."""
        try:
            await self._keep()
        except RedisUnavailable as error:
            self.fault = _describe_fault(error.__cause__)
            raise
        self.fault = None

    async def _keep(self) -> None:
        if time.monotonic() - self._noted_s >= NOTE_EVERY_S:
            await _note_use(self._redis)
            self._noted_s = time.monotonic()
        await _load(self._redis, only_if_missing=True)
        self.has_others = await _others_in_use(self._redis)


def _describe_fault(cause: BaseException | None) -> str | None:
    """Say what keeps a server that answers from having functions; ``None`` for everything else that may go wrong."""
    if isinstance(cause, NoPermissionError):
        return "the redis user may not use functions: allow it +@scripting and the keys nb:*"
    said = str(cause).lower()
    if isinstance(cause, ResponseError) and ("unknown command" in said or "unknown subcommand" in said):
        return "redis has no functions: use Redis 7 or Valkey 7.2, or a later one"
    return None


async def remove_unused(redis: Any, unused_ms: int = UNUSED_MS) -> list[str]:
    """Remove libraries of other versions that nobody has used for ``unused_ms``; returns their names.

    Whoever starts notes its use before it looks whether its library is there. So either that note is seen here, and
    nothing is removed, or the library is gone when it looks, and it is loaded again. Raises ``RedisUnavailable``.
    """
    async with redis_errors(), redis.pipeline() as pipe:
        await pipe.watch(FUNCTIONS)
        # Functions are the server's, notes are the database's: another one may have processes that note theirs there.
        if len(await pipe.info("keyspace")) > 1:
            return []
        notes = {name.decode(): int(at_ms) for name, at_ms in (await pipe.hgetall(FUNCTIONS)).items()}
        now_ms = await _server_ms(pipe)
        loaded = {name for name in await _loaded(pipe) if VERSIONED.fullmatch(name)} - {OURS.name}
        unknown = loaded - notes.keys()
        old = sorted(name for name in loaded & notes.keys() if now_ms - notes[name] > unused_ms)
        pipe.multi()
        for name in unknown:  # its time begins now: notes are lost when Redis is emptied, libraries are not
            pipe.hset(FUNCTIONS, name, now_ms)
        for name in old:
            pipe.function_delete(name)
            pipe.hdel(FUNCTIONS, name)
        try:
            await pipe.execute()
        except WatchError:
            return []
    return old


async def _others_in_use(redis: Any) -> bool:
    async with redis_errors():
        notes = {name.decode(): int(at_ms) for name, at_ms in (await redis.hgetall(FUNCTIONS)).items()}
        if not notes.keys() - {OURS.name}:
            return False
        since_ms = await _server_ms(redis) - RECENTLY_MS
    return any(at_ms > since_ms for name, at_ms in notes.items() if name != OURS.name)


async def _loaded(redis: Any) -> list[str]:
    listed = await redis.function_list(library=f"{LIBRARY}*")
    return [dict(zip(one[::2], one[1::2], strict=True))[b"library_name"].decode() for one in listed]


async def _server_ms(redis: Any) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000
