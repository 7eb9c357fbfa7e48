"""PostgreSQL and Valkey together, shared by all processes that name the same data folder.

Each process that uses the servers holds a shared lock for as long as it does, which the kernel gives back for a killed
one. The first one starts them; the last one to leave stops them.
"""

import atexit
import fcntl
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import IO, Literal

from app.embedded.postgres import PostgresServer
from app.embedded.process import EmbeddedServersError, exclusive, make_folders
from app.embedded.server_urls import ServerUrls
from app.embedded.valkey import Appendfsync, ValkeyServer

START_LOCK = ".servers.lock"  # held while servers are started or stopped
USERS_LOCK = ".servers.use"  # held, shared, by all who use them


class EmbeddedServers:
    """Real PostgreSQL and Valkey servers for one data folder; also a context manager that gives their URLs.

    `start` joins servers that already run there. They are stopped when the last process that uses them calls
    `stop`, leaves the `with` block, ends, or gets SIGTERM, SIGINT or SIGHUP.

    Data and logs are kept below `data_dir`, which is created if missing. `appendfsync` is Valkey's, `fsync` and
    `max_connections` are PostgreSQL's. Raises `EmbeddedServersError` if the extra `embedded` is not installed.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        appendfsync: Appendfsync = "everysec",
        fsync: bool = True,
        max_connections: int = 100,
    ) -> None:
        self.data_dir = Path(data_dir).resolve()
        try:
            made = make_folders(self.data_dir)
            self._postgres = PostgresServer(
                self.data_dir, fsync=fsync, max_connections=max_connections, made=made
            )
            self._valkey = ValkeyServer(self.data_dir, appendfsync=appendfsync)
        except PermissionError as error:
            raise EmbeddedServersError(f"{self.data_dir} belongs to another user: {error}") from error
        self._state = self.data_dir / "servers.json"
        self._use: IO[str] | None = None
        self._started_in = 0

    def start(self) -> ServerUrls:
        """Start both servers, or join those that run; return their URLs. Raises `EmbeddedServersError`."""
        if self._use is not None:
            return self.urls
        with exclusive(self.data_dir / START_LOCK):
            use = (self.data_dir / USERS_LOCK).open("a")
            fcntl.flock(use, fcntl.LOCK_SH)
            self._use, self._started_in = use, os.getpid()
            atexit.register(self.stop)
            _exit_on_signals()
            try:
                self._postgres.start()
                self._valkey.start()
            except BaseException:
                self._leave()
                raise
            self._write_state()
        return self.urls

    def stop(self) -> None:
        """Stop using the servers, and stop them if nobody else does. May be called again."""
        if self._use is None or self._started_in != os.getpid():
            return
        if self._is_removed():
            # There may be a new folder of this name, with servers of somebody else.
            self._postgres.trust_folder = self._valkey.trust_folder = False
            self._leave()
            return
        with exclusive(self.data_dir / START_LOCK):
            self._leave()

    @property
    def urls(self) -> ServerUrls:
        """The servers' URLs. They stay the same for a data folder, unless another program took the port."""
        return ServerUrls(self._postgres.url, self._valkey.url)

    def kill_redis(self) -> None:
        """End Valkey with SIGKILL; `start_redis` brings it back with what its append-only file holds."""
        self._valkey.kill()

    def start_redis(self) -> None:
        """Start Valkey again on the same port and data."""
        self._valkey.start()
        self._write_state()

    def restart_postgres(self, mode: Literal["immediate", "fast"] = "fast") -> None:
        """Restart PostgreSQL: `fast` ends sessions in good order, `immediate` is a crash with recovery."""
        self._postgres.restart(mode)
        self._write_state()

    def revive(self) -> None:
        """Start again what has died by itself; cheap when all is well. Raises `EmbeddedServersError`."""
        if (self._postgres.pid and self._valkey.pid) or self._use is None or self._is_removed():
            return
        with exclusive(self.data_dir / START_LOCK):
            self._postgres.start()
            self._valkey.start()
            self._write_state()

    def __enter__(self) -> ServerUrls:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _leave(self) -> None:
        """Give the shared lock back; the servers go with the last user. The caller has the exclusive lock."""
        use, self._use = self._use, None
        if use is None:
            return
        atexit.unregister(self.stop)
        try:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody else still uses them
            pass
        else:
            self._valkey.stop()
            self._postgres.stop()
            if self._postgres.trust_folder:
                self._state.unlink(missing_ok=True)
        finally:
            use.close()

    def _is_removed(self) -> bool:
        """Return whether our folder was removed under the running servers; there may be a new one by now."""
        try:
            now = (self.data_dir / USERS_LOCK).stat()
        except FileNotFoundError:
            return True
        return self._use is not None and now.st_ino != os.fstat(self._use.fileno()).st_ino

    def _write_state(self) -> None:
        """Tell other programs, and people, where the servers are."""
        state = {**self.urls._asdict(), "pids": {"postgres": self._postgres.pid, "redis": self._valkey.pid}}
        new = self._state.with_suffix(".new")
        # Private, for it holds a password.
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(state, file, indent=2)
        new.replace(self._state)


def _exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this process like `sys.exit`, with its clean-up, unless it handles them."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
