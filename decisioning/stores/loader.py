"""Loads the server-side steps into Redis."""

from importlib.resources import files

from redis.asyncio import Redis

from decisioning.stores.streams import redis_errors

LIBRARY = "nextbest"


async def load_functions(redis: "Redis", *, only_if_missing: bool = False) -> None:
    """Put this version's function library in place, replacing an older one.

    Raises
    ------
    RedisUnavailable
        If Redis cannot be reached, or has no functions (they came with Redis 7 and Valkey 7.2).
    """
    async with redis_errors():
        if only_if_missing and await redis.function_list(library=LIBRARY):
            return
        code = files("decisioning.stores").joinpath("functions.lua").read_text(encoding="utf-8")
        await redis.function_load(code, replace=True)
