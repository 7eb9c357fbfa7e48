"""The service under demonstration: `nextbest up` in a process of its own, with its output in a file."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from redis import Redis

from app.keys import KeyStore
from app.server_urls import ServerUrls
from app.supervise import Child, Command, logged
from demo.client import ApiClient, DemoError
from storage.postgres import make_engine

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
MAX_LOG_LINES = 10
MAX_LOG_COLUMNS = 300


@contextmanager
def running_service(data_dir: Path, port: int, log: Path) -> Iterator[Child]:
    """Run API and worker, supervised, on `port`, until the block ends. Should this process be killed, they end too.

    They share the embedded servers of `data_dir` with this process, unless others are configured.
    """
    env = {**os.environ, "NEXTBEST_DATA_DIR": str(data_dir), "NEXTBEST_PORT": str(port)}
    command = Command("service", (sys.executable, "-m", "app.cli", "up"), env)
    with logged(command, log, STOP_TIMEOUT_S) as child:
        yield child


async def wait_until_ready(api: ApiClient, child: Child, log: Path, check: Callable[[], None]) -> None:
    """Wait for /readyz, calling `check` meanwhile.

    Raises DemoError, with the end of the log, if the service ends or takes too long.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + READY_TIMEOUT_S
    while not await api.ready():
        check()
        if not child.running:
            raise DemoError(f"the service ended before it was ready:\n{tail(log)}")
        if clock() > deadline:
            raise DemoError(f"the service was not ready after {READY_TIMEOUT_S:.0f} s:\n{tail(log)}")
        await asyncio.sleep(0.1)


def tail(log: Path) -> str:
    """Return the last lines of a log file, cut to a width that can be read."""
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-MAX_LOG_LINES:]
    return "\n".join(line[:MAX_LOG_COLUMNS] for line in [*lines, f"(all of it: {log})"])


async def create_key(postgres_url: str) -> str:
    """Make the API key of this run."""
    engine = make_engine(postgres_url)
    try:
        return await KeyStore(engine).create("admin", "demo")
    finally:
        await engine.dispose()


async def require_empty(urls: ServerUrls) -> None:
    """Raise DemoError unless the configured servers are empty: a demo does not write among real customers."""
    connection = await asyncpg.connect(urls.postgres_url)
    try:
        used = False
        for table in ("customers", "offers", "decisions"):
            if not used and await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                used = bool(await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"))
    finally:
        await connection.close()
    with Redis.from_url(urls.redis_url) as redis:
        used = used or redis.dbsize() > 0
    if used:
        raise DemoError(
            "the configured servers are in use, and the demo only writes to empty ones: "
            "unset NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL to run it with servers of its own"
        )
