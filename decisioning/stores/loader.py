"""Loads the server-side steps into Redis."""

from importlib.resources import files

from redis.asyncio import Redis
from redis.exceptions import RedisError

from decisioning.errors import RedisUnavailable


async def load_functions(redis: "Redis") -> None:
    """Put this version's function library in place, replacing an older one.

    Raises
    ------
    RedisUnavailable
        If Redis cannot be reached, or has no functions (they came with Redis 7 and Valkey 7.2).
    """
    code = files("decisioning.stores").joinpath("functions.lua").read_text(encoding="utf-8")
    try:
        await redis.function_load(code, replace=True)
    except (RedisError, OSError) as error:
        raise RedisUnavailable(f"redis does not take the function library: {error}") from error
