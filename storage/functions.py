"""The loader of the server-side steps into Redis."""

from importlib.resources import files

from redis.asyncio import Redis

from storage.redis import redis_errors

LIBRARY = "nextbest"


def library_code() -> str:
    """Read the function library: one chunk, kept in several files that follow each other by name."""
    parts = sorted(files("storage").joinpath("lua").iterdir(), key=lambda part: part.name)
    return "\n".join(part.read_text(encoding="utf-8") for part in parts if part.name.endswith(".lua"))


async def load_functions(redis: "Redis", *, only_if_missing: bool = False) -> None:
    """Put this version's function library in place, replacing an older one.

    Raises ``RedisUnavailable``, also if Redis has no functions (they came with Redis 7 and Valkey 7.2).
    """
    async with redis_errors():
        if only_if_missing and await redis.function_list(library=LIBRARY):
            return
        await redis.function_load(library_code(), replace=True)
