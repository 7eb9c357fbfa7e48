"""The service under demonstration: a data folder of its own, a free port, and `nextbest up` in a process of its own."""

import asyncio
import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from redis import Redis

from app.embedded.server_urls import ServerUrls
from app.processes.supervise import Child, Command, logged
from demo.client import ApiClient, DemoError
from storage.addresses import parse_postgres, parse_redis

MARK = ".nextbest-demo"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
MAX_LOG_LINES = 10
MAX_LOG_COLUMNS = 300


@contextmanager
def fresh_folder(data_dir: Path) -> Iterator[Path]:
    """Make an empty folder `demo` in `data_dir`, held by this process alone for as long as the block lasts.

    What a former demo left is removed. Raises DemoError when another runs there, or when the folder is somebody else's.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / ".demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"a demo is running in {data_dir} already: stop it first (Ctrl-C where it was started), "
                "or set NEXTBEST_DATA_DIR to run another one elsewhere"
            ) from None
        folder = data_dir / "demo"
        if folder.exists():
            if not (folder / MARK).exists() and any(folder.iterdir()):
                raise DemoError(f"{folder} was not made by a demo, so it is left alone: move it away")
            _stop_servers(folder)
            shutil.rmtree(folder)
        folder.mkdir()
        (folder / MARK).touch()
        yield folder.resolve()


def _stop_servers(folder: Path) -> None:
    """Stop embedded servers that a killed demo has left running."""
    # The state file says that there are some.
    if (folder / "servers.json").exists():
        from app.embedded.servers import EmbeddedServers

        with EmbeddedServers(folder):
            pass


def choose_port(configured: int) -> int:
    """Choose the port: `NEXTBEST_PORT` (`configured`) goes before `PORT`. Raises DemoError."""
    given = os.environ.get("PORT")
    if given is None or "NEXTBEST_PORT" in os.environ:
        return configured
    if not given.isdecimal() or not 0 < int(given) < 65_536:
        raise DemoError(f"PORT={given!r} is not a port: give a number from 1 to 65535")
    return int(given)


def find_free_port(host: str, wanted: int) -> int:
    """Return `wanted` if nothing listens there, else some free port."""
    for port in (wanted, 0):  # 0: the kernel chooses
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError(f"no free port on {host}")


@contextmanager
def running_service(data_dir: Path, port: int, log: Path) -> Iterator[Child]:
    """Run API and worker, supervised, on `port`, until the block ends. Should this process be killed, they end too."""
    # They share the embedded servers of the folder with this process, unless others are configured.
    env = {**os.environ, "NEXTBEST_DATA_DIR": str(data_dir), "NEXTBEST_PORT": str(port)}
    # One version of the default from end to end: the demo shows what that has learned.
    env.setdefault("NEXTBEST_AUTO_FEATURES_INTERVAL_S", "0")
    command = Command("service", (sys.executable, "-m", "app.cli", "up"), env)
    with logged(command, log, STOP_TIMEOUT_S) as child:
        yield child


async def wait_until_ready(api: ApiClient, child: Child, log: Path, check: Callable[[], None]) -> None:
    """Wait for /readyz, calling `check` meanwhile. Raises DemoError, with the end of the log, if it does not come."""
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


async def require_empty(urls: ServerUrls) -> None:
    """Raise DemoError unless the configured servers are empty."""
    # A demo does not write among real customers.
    connection = await asyncpg.connect(parse_postgres(urls.postgres_url))
    try:
        used = False
        for table in ("customers", "offers", "decisions"):
            if not used and await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                used = bool(await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"))
    finally:
        await connection.close()
    with Redis.from_url(parse_redis(urls.redis_url).url) as redis:
        used = used or redis.dbsize() > 0
    if used:
        raise DemoError(
            "the configured servers are in use, and the demo only writes to empty ones: "
            "unset NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL to run it with servers of its own"
        )
