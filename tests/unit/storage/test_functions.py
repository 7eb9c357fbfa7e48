"""The function library: loaded once, replaced on demand."""

import re

import pytest
from redis.asyncio import Redis

from storage.errors import RedisUnavailable
from storage.functions import LIBRARY, library_code, load_functions
from storage.redis import make_redis


async def function_names(redis: Redis) -> set[str]:
    """Read the names of the functions that are loaded."""
    listed = await redis.function_list(library=LIBRARY)
    if not listed:
        return set()
    entry = dict(zip(listed[0][::2], listed[0][1::2], strict=True))
    return {dict(zip(f[::2], f[1::2], strict=True))[b"name"].decode() for f in entry[b"functions"]}


def test_the_library_is_one_chunk_with_a_header() -> None:
    assert library_code().startswith(f"#!lua name={LIBRARY}")
    assert library_code().count("#!lua") == 1


async def test_loading_puts_all_functions_in_place(redis_url: str) -> None:
    redis = make_redis(redis_url)
    try:
        await load_functions(redis)
        names = await function_names(redis)
        assert names
        assert names <= set(re.findall(r"nb_\w+", library_code()))
        await redis.function_load(
            f"#!lua name={LIBRARY}\nredis.register_function('nb_x', function() end)", True
        )
        await load_functions(redis, only_if_missing=True)
        assert await function_names(redis) == {"nb_x"}
        await load_functions(redis)
        assert await function_names(redis) == names
    finally:
        await redis.aclose()


async def test_without_redis_it_is_unavailable() -> None:
    redis = make_redis("redis://127.0.0.1:1/0")
    with pytest.raises(RedisUnavailable):
        await load_functions(redis)
    await redis.aclose()
