"""Servers that are gone (killed) or silent (stopped), for as long as a block lasts."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import psutil

from app.embedded.process import wait_gone
from app.embedded.servers import EmbeddedServers
from tests.support.waiting import DEADLINE_S, wait_until

How = Literal["gone", "silent"]


def pid_of(servers: EmbeddedServers, name: Literal["postgres", "redis"]) -> int:
    """The number of the server's (first) process."""
    return int(json.loads((servers.data_dir / "servers.json").read_text())["pids"][name])


@contextmanager
def redis_down(servers: EmbeddedServers, how: How) -> Iterator[None]:
    """Redis killed and started again, or stopped and continued."""
    if how == "gone":
        servers.kill_redis()
        try:
            yield
        finally:
            servers.start_redis()
        return
    with stopped(pid_of(servers, "redis")):
        yield


@contextmanager
def postgres_down(servers: EmbeddedServers, how: How) -> Iterator[None]:
    """PostgreSQL crashed and started again, or all of its processes stopped and continued."""
    first = psutil.Process(pid_of(servers, "postgres"))
    if how == "gone":
        first.send_signal(signal.SIGQUIT)
        try:
            assert wait_gone(first, DEADLINE_S), "PostgreSQL does not end"
            yield
        finally:
            servers.revive()
        return
    first.suspend()  # it starts no more processes; those of existing connections are stopped next
    with stopped(*(child.pid for child in first.children(recursive=True)), first.pid):
        yield


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Processes that do not run, though their connections stay open."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: all(map(_is_stopped, pids)), f"processes {pids} to be stopped")
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
