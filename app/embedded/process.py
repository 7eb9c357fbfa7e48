"""Finding and ending the servers' processes, and letting a user other than root reach their files."""

import fcntl
import importlib.util
import os
import pwd
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

POLL_S = 0.005
ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
"""A process that has ended is a zombie first, and dead for a moment while it is reaped."""
MISSING_EXTRA = (
    "the embedded servers are not installed: pip install 'nextbest[embedded]', "
    "or set NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL to servers of your own"
)


class EmbeddedServersError(RuntimeError):
    """An embedded server is not installed, did not start, or did not stop. The message says which and why."""


def package_dir(package: str) -> Path:
    """Find an installed package's folder without importing it. Raises `EmbeddedServersError` if there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServersError(MISSING_EXTRA)
    return Path(spec.submodule_search_locations[0])


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals that would raise an exception (Ctrl-C, and ends with clean-up) back until the block is left."""
    # An exception in the midst of starting a program would forget the program, and leave it running. Only the main
    # thread is ever interrupted.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    handlers = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if callable(handler := signal.getsignal(number)):
            handlers[number] = handler
    for number in handlers:
        signal.signal(number, lambda caught, frame: held.append((caught, frame)))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught, frame in held:
            handlers[signal.Signals(caught)](caught, frame)


def find_process(pid: int | None, *words: str) -> psutil.Process | None:
    """The live process `pid` if `words` are all in its command line: a reused number is not taken for it."""
    if not pid:
        return None
    try:
        process = psutil.Process(pid)
        if process.status() in ENDED:
            return None
        command = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None
    except psutil.AccessDenied:
        command = ""
    return process if all(word in command for word in words) else None


def wait_gone(process: psutil.Process, timeout_s: float) -> bool:
    """Wait until `process` has ended; False if it is still there after `timeout_s` seconds."""
    # A zombie counts as ended: its parent, or a container's first process, may take its time to reap it.
    deadline = time.monotonic() + timeout_s
    while find_process(process.pid) is not None and process.is_running():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def read_pid(path: Path) -> int | None:
    """The number in the first line of a pid file, or None if there is no such file or number."""
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log file, for an error message."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the file lock `path`; it is given back by the kernel even when the holder is killed."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def make_folders(path: Path) -> list[Path]:
    """Make a folder and those above it that are missing; returns the ones that were made."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return made


def require_reachable(path: Path, user: pwd.struct_passwd, made: Collection[Path]) -> None:
    """See that ``user`` can pass through the folders above ``path``: for root, who runs a server as somebody else.

    Only folders that were ``made`` here are opened. Raises `EmbeddedServersError` for another one that is closed:
    who closed it may have had a reason.
    """
    for folder in path.resolve().parents:
        if _allows(folder, user, stat.S_IXUSR):
            continue
        if folder not in made:
            raise EmbeddedServersError(_closed(folder, user, "pass through"))
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)


def require_readable(folder: Path, user: pwd.struct_passwd) -> None:
    """See that ``user`` can read and run what is below `folder`. Raises `EmbeddedServersError`."""
    for parent, _, files in os.walk(folder):
        for path in (Path(parent), *(Path(parent, name) for name in files)):
            mode = path.stat().st_mode
            needed = stat.S_IRUSR | (mode & stat.S_IXUSR)
            if not _allows(path, user, needed):
                raise EmbeddedServersError(_closed(path, user, "read"))


def _allows(path: Path, user: pwd.struct_passwd, bits: int) -> bool:
    """Return whether a file's mode gives ``user`` the ``bits``, which are written as those of an owner."""
    found = path.stat()
    if found.st_uid == user.pw_uid:
        return found.st_mode & bits == bits
    if found.st_gid == user.pw_gid:
        return found.st_mode & (bits >> 3) == bits >> 3
    return found.st_mode & (bits >> 6) == bits >> 6


def command_past_closed_folders(user: pwd.struct_passwd) -> list[str] | None:
    """Make the beginning of a command that runs another as ``user``, who may look into closed folders.

    For root whose project lies in a folder of its own: so the folder can stay closed. ``None`` if this machine does not
    let it be done.
    """
    command = [
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        # Without this, access(2) forgets what the user may do.
        "--securebits=+no_setuid_fixup",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    ]
    try:
        done = subprocess.run([*command, "true"], capture_output=True, check=False)
    except OSError:
        return None
    return command if done.returncode == 0 else None


def _closed(path: Path, user: pwd.struct_passwd, what: str) -> str:
    return (
        f"PostgreSQL does not run as root, and the user {user.pw_name!r} cannot {what} {path}: start nextbest as"
        f" another user than root, set NEXTBEST_DATA_DIR to another folder, or open it (chmod o+rX {path})"
    )
