"""The function library: a version beside others, loaded again when it is lost, removed when nobody uses it."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from storage import functions
from storage.clock import DAY_MS
from storage.errors import FunctionsUnavailable, RedisUnavailable
from storage.functions import (
    OURS,
    FunctionKeeper,
    Library,
    library_code,
    library_source,
    load_functions,
    remove_unused,
)
from storage.keys import FUNCTIONS, Keys
from storage.redis import make_redis
from storage.redis_pipe import Pipe
from tests.support.waiting import eventually

OTHER = Library.of(library_source() + "\n-- another version")
UNVERSIONED = "nextbest"


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    """A server without functions and notes; our own are there again at the end."""
    client: Any = make_redis(redis_url)
    await client.function_flush()
    await client.delete(FUNCTIONS)
    yield client
    await client.function_flush()
    await load_functions(client)
    await client.aclose()


async def function_names(redis: Redis, library: str) -> set[str]:
    """Read the names of the functions that are loaded from a library."""
    listed = await redis.function_list(library=library)
    if not listed:
        return set()
    entry = dict(zip(listed[0][::2], listed[0][1::2], strict=True))
    return {dict(zip(f[::2], f[1::2], strict=True))[b"name"].decode() for f in entry[b"functions"]}


async def load_other(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a process of another version does when it starts."""
    with monkeypatch.context() as patched:
        patched.setattr(functions, "OURS", OTHER)
        await load_functions(redis)


def test_the_library_is_one_chunk_with_a_header() -> None:
    assert library_code().startswith(f"#!lua name={OURS.name}\n")
    assert library_code().count("#!lua") == 1


def test_names_carry_the_version_of_the_source() -> None:
    assert Library.of(library_source()) == OURS
    assert OTHER.version != OURS.version
    assert functions.VERSIONED.fullmatch(OTHER.name)
    registered = re.findall(r"'(nb_\w+)'", library_code())
    assert len(registered) > 15
    assert all(name.endswith(f"_{OURS.version}") for name in registered)


async def test_loading_puts_all_functions_in_place(redis: Any) -> None:
    await load_functions(redis)
    names = await function_names(redis, OURS.name)
    assert names
    assert names == set(re.findall(r"'(nb_\w+)'", library_code()))
    changed = f"#!lua name={OURS.name}\nredis.register_function('nb_x', function() end)"
    await redis.function_load(changed, True)
    await load_functions(redis, only_if_missing=True)
    assert await function_names(redis, OURS.name) == {"nb_x"}
    await load_functions(redis)
    assert await function_names(redis, OURS.name) == names


async def test_nothing_that_starts_replaces_what_others_use(
    redis: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_functions(redis)
    await redis.function_load(
        f"#!lua name={UNVERSIONED}\nredis.register_function('nb_decide', function() end)"
    )
    names = await function_names(redis, OURS.name)
    await load_other(redis, monkeypatch)
    assert await function_names(redis, OURS.name) == names
    assert len(await function_names(redis, OTHER.name)) == len(names)
    assert await function_names(redis, UNVERSIONED) == {"nb_decide"}
    pipe = Pipe(redis_url)
    await pipe.start()
    key = Keys(8).lease("p@1")
    assert await pipe.function("nb_disown", (key,), "nobody") == b"other"
    await pipe.stop()


async def test_a_lost_library_is_loaded_again(redis: Any, redis_url: str) -> None:
    keeper = FunctionKeeper(redis)
    await keeper.keep()
    await redis.function_flush()
    pipe = Pipe(redis_url)
    await pipe.start()
    with pytest.raises(FunctionsUnavailable, match="does not have nb_disown of this version"):
        await pipe.function("nb_disown", ("k",), "nobody")
    assert pipe.lacks_functions.is_set()
    await keeper.keep()
    assert await pipe.function("nb_disown", ("k",), "nobody") == b"other"
    await pipe.stop()


async def test_a_wrong_arity_is_told_by_name_and_logged_once(
    redis: Any, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await load_functions(redis)
    pipe = Pipe(redis_url)
    await pipe.start()
    for _ in range(3):
        with pytest.raises(FunctionsUnavailable, match="nb_decide failed"):
            await pipe.function("nb_decide", ("k",))
    assert len([r for r in caplog.records if "a defect in nb_decide" in r.getMessage()]) == 1
    await pipe.stop()


async def test_libraries_go_when_nobody_uses_them(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await redis.function_load(f"#!lua name={UNVERSIONED}\nredis.register_function('nb_x', function() end)")
    await load_functions(redis)
    await load_other(redis, monkeypatch)
    assert await remove_unused(redis) == []
    seconds, _ = await redis.time()
    for library in (OURS, OTHER):
        await redis.hset(FUNCTIONS, library.name, int(seconds) * 1000 - DAY_MS - 1000)
    assert await remove_unused(redis) == [OTHER.name]  # never one's own
    assert await redis.hkeys(FUNCTIONS) == [OURS.name.encode()]
    assert await function_names(redis, OURS.name)
    assert await function_names(redis, UNVERSIONED) == {"nb_x"}


async def test_a_library_without_a_note_has_its_time(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await load_other(redis, monkeypatch)
    await redis.delete(FUNCTIONS)  # Redis was emptied, which functions outlive
    assert await remove_unused(redis, 50) == []
    assert await redis.hkeys(FUNCTIONS) == [OTHER.name.encode()]

    async def removed() -> bool:
        return await remove_unused(redis, 50) == [OTHER.name]

    await eventually(removed, "the library to be removed")


async def test_other_databases_of_the_server_keep_theirs(
    redis: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_other(redis, monkeypatch)
    await redis.hset(FUNCTIONS, OTHER.name, 1)
    other_database: Any = make_redis(redis_url.rpartition("/")[0] + "/1")
    await other_database.set("x", 1)
    assert await remove_unused(redis) == []
    await other_database.delete("x")
    await other_database.aclose()
    assert await remove_unused(redis) == [OTHER.name]


async def test_who_starts_while_its_library_is_removed_loads_it(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_other(redis, monkeypatch)
    await redis.hset(FUNCTIONS, OTHER.name, 1)
    asked = functions._server_ms

    async def noted_meanwhile(client: Any) -> int:
        with monkeypatch.context() as patched:
            patched.setattr(functions, "_server_ms", asked)
            await load_other(redis, monkeypatch)
        return await asked(client)

    monkeypatch.setattr(functions, "_server_ms", noted_meanwhile)
    assert await remove_unused(redis) == []
    assert await function_names(redis, OTHER.name)


async def test_without_redis_it_is_unavailable() -> None:
    redis = make_redis("redis://127.0.0.1:1/0")
    with pytest.raises(RedisUnavailable):
        await load_functions(redis)
    await redis.aclose()


async def test_a_keeper_knows_whether_other_versions_are_in_use(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, seen = FunctionKeeper(redis), []
    seen.append(keeper.has_others)  # as long as nothing is known
    for note_ms in (None, 0, functions.RECENTLY_MS - 60_000, functions.RECENTLY_MS + 60_000):
        if note_ms is not None:
            await load_other(redis, monkeypatch)
            await redis.hincrby(FUNCTIONS, OTHER.name, -note_ms)
        await keeper.keep()
        seen.append(keeper.has_others)
    assert seen == [True, False, True, True, False]
