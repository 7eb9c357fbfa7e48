"""The place of a demo: a data folder of its own, one demo at a time, and a port that is free."""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.client import DemoError

MARK = ".nextbest-demo"


@contextmanager
def fresh_folder(data_dir: Path) -> Iterator[Path]:
    """Make an empty folder `demo` in `data_dir`, held by this process alone for as long as the block lasts.

    What a former demo left is removed; a folder that no demo made is left alone. Raises DemoError when
    another demo runs there, or when the folder is somebody else's.
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
    """Stop embedded servers that a killed demo has left running; their state file says that there are some."""
    if (folder / "servers.json").exists():
        from app.embedded import EmbeddedServers

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
