"""Servers that answer and take no writes, or lack functions: readiness says so by name, until it is over."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from app.api.health.checks import check_postgres
from storage.errors import PostgresUnavailable
from storage.postgres import connector, postgres_errors
from storage.redis_server import RedisServer
from tests.support.api import Instance, Nextbest, decide
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUNDS = 5
"""So often it is looked at a fault that is written once."""


async def readiness(instance: Instance) -> tuple[int, dict[str, str], dict[str, str]]:
    """Return the status of ``/readyz``, what is not well, and the warnings."""
    response = await instance.call("GET", "/readyz", role=None)
    body = response.json()
    return (
        response.status_code,
        {check: state for check, state in body["checks"].items() if state != "ok"},
        body["warnings"],
    )


@asynccontextmanager
async def configured(instance: Instance, name: str, value: str) -> AsyncIterator[None]:
    """Redis with another setting, until the block ends."""
    redis: Any = instance.state.redis
    before = (await redis.config_get(name))[name]
    await redis.config_set(name, value)
    try:
        yield
    finally:
        await redis.config_set(name, before)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The warnings of those who look at servers, also after an instance that starts has set up its own log."""
    watched = [logging.getLogger(name) for name in ("app.api", "storage")]
    for logger in watched:
        logger.addHandler(caplog.handler)
        caplog.set_level(logging.WARNING, logger.name)
    yield caplog
    for logger in watched:
        logger.removeHandler(caplog.handler)


def lines_of(log: pytest.LogCaptureFixture, part: str) -> list[str]:
    """Return the lines of the log that have a part."""
    # The root logger may have the handler as well.
    records = {id(record): record.getMessage() for record in log.records}
    return [message for message in records.values() if part in message]


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [("maxmemory", "1", "its memory is full"), ("min-replicas-to-write", "1", "too few replicas")],
)
async def test_readiness_is_503_while_redis_refuses_writes(
    shop: Nextbest, log: pytest.LogCaptureFixture, setting: str, value: str, reason: str
) -> None:
    assert (await readiness(shop.api))[:2] == (200, {})
    async with configured(shop.api, setting, value):
        for _ in range(ROUNDS):
            status, faults, _ = await readiness(shop.api)
            assert (status, set(faults)) == (503, {"redis"})
            assert faults["redis"].startswith(f"refuses writes: {reason}")
        assert lines_of(log, reason) == [f"redis is not ready: {faults['redis']}"]
        assert (await shop.api.call("GET", "/livez", role=None)).status_code == 200
    assert (await readiness(shop.api))[:2] == (200, {})


async def test_asking_writes_nothing(shop: Nextbest) -> None:
    before = await shop.api.state.redis.dbsize()
    await readiness(shop.api)
    assert await shop.api.state.redis.exists("nb:probe") == 0
    assert await shop.api.state.redis.dbsize() == before


async def test_readiness_warns_of_a_postgres_that_is_read_only_and_stays_200(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_only = {"default_transaction_read_only": "on"}
    connect = connector(str(shop.settings.postgres_url), server_settings=read_only)
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(shop.api.state, "engine", engine)
            status, faults, warnings = await readiness(shop.api)
            assert (status, faults) == (200, {})
            assert warnings["postgres"].startswith("refuses writes: it is read only")
            # On the port of a worker, whose work stands still, this is a fault.
            found = await check_postgres(engine, shop.api.state.redis_claim)
            assert found == warnings["postgres"]
    finally:
        await engine.dispose()
    status, faults, warnings = await readiness(shop.api)
    assert (status, faults, "postgres" in warnings) == (200, {}, False)


async def test_a_write_that_postgres_refused_is_remembered_until_one_succeeds(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: it is known only to those who write."""
    claim, refused = shop.api.state.redis_claim, asyncpg.DiskFullError("no space left")

    async def refuse(*_: str) -> bool:
        async with postgres_errors():
            raise refused

    with monkeypatch.context() as patched:
        patched.setattr(claim, "_note_use", refuse)
        with pytest.raises(PostgresUnavailable):
            await claim.renew()
    status, faults, warnings = await readiness(shop.api)
    assert (status, faults) == (200, {})
    assert warnings["postgres"] == "refuses writes: its disk is full"
    await claim.renew()
    assert "postgres" not in (await readiness(shop.api))[2]


async def test_a_redis_without_functions_is_named_in_readiness_and_in_one_line(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    redis: Any = shop.api.state.redis
    await redis.execute_command("ACL", "SETUSER", "plain", "on", ">pw", "~*", "&*", "+@all", "-@scripting")
    split = urlsplit(str(shop.settings.redis_url))
    try:
        async with shop.another(redis_url=f"redis://plain:pw@{split.hostname}:{split.port}/0") as instance:
            functions, keep, rounds = instance.state.functions, instance.state.functions.keep, 0

            async def keep_at_once() -> None:
                nonlocal rounds
                rounds += 1
                instance.state.pipe.lacks_functions.set()
                await keep()

            async def named() -> bool:
                status, faults, _ = await readiness(instance)
                return status == 503 and "functions" in faults.get("redis", "")

            async def looked_at() -> bool:
                return rounds > ROUNDS

            monkeypatch.setattr(functions, "keep", keep_at_once)
            await eventually(named, "readiness to name the functions")
            await eventually(looked_at, "the functions to be looked for again and again")
            assert lines_of(log, "functions") == [f"functions cannot be used: {functions.fault}"]
            assert (await decide(instance))["degraded"]
    finally:
        await redis.execute_command("ACL", "DELUSER", "plain")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"version": "6.2.14"}, "redis 6.2.14 has no functions: use Redis 7"),
        ({"maxmemory": 1 << 30, "maxmemory_policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru"),
    ],
)
async def test_a_redis_that_is_not_fit_is_named_in_readiness_and_in_one_line(
    shop: Nextbest,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
    told: dict[str, Any],
    reason: str,
) -> None:
    parse, asked = RedisServer.parse, 0

    def unfit(reply: bytes) -> RedisServer:
        nonlocal asked
        asked += 1
        return replace(parse(reply), **told)

    async def tried() -> bool:
        return asked > ROUNDS

    async def ready() -> bool:
        return (await readiness(instance))[:2] == (200, {})

    with monkeypatch.context() as patched:
        patched.setattr(RedisServer, "parse", unfit)
        async with shop.another() as instance:
            await eventually(tried, "the connection to be tried again and again")
            status, faults, _ = await readiness(instance)
            assert (status, set(faults)) == (503, {"redis"})
            assert reason in faults["redis"]
            assert lines_of(log, reason) == [f"redis is not used: {faults['redis']}"]
            patched.undo()
            await eventually(ready, "another Redis to be used")


async def test_an_eviction_policy_is_a_warning_until_there_is_a_maxmemory(shop: Nextbest) -> None:
    async with configured(shop.api, "maxmemory-policy", "allkeys-lru"), shop.another() as instance:
        status, faults, warnings = await readiness(instance)
        assert (status, faults) == (200, {})
        assert "maxmemory-policy is allkeys-lru" in warnings["redis"]
        async with configured(shop.api, "maxmemory", "1gb"), shop.another() as refusing:
            status, faults, _ = await readiness(refusing)
            assert (status, set(faults)) == (503, {"redis"})
            assert (
                "redis may drop decisions and contacts (maxmemory-policy is allkeys-lru)" in faults["redis"]
            )
