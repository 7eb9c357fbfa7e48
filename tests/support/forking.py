"""Processes that begin with the code loaded: ``python -m tests.support.forking MODULE ...`` imports the modules once.

Loading the code takes a process three seconds of a processor, and tests start hundreds of them. Here each is forked
from one that has loaded it, and then runs its command line from the start, in an environment of its own. Processes that
are forked from the same one share its seed of hashes, so there is one for APIs and another for all the rest.
"""

import atexit
import gc
import json
import os
import random
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from tests.support.waiting import PAUSE_S

SERVE = ("app.commands.service", "app.main", "app.protocol")
REST = ("app.commands.service", "app.worker.run")
METRICS = "PROMETHEUS_MULTIPROC_DIR"
MESSAGE_BYTES = 1 << 20


class Forked:
    """A process that was forked; the part of `subprocess.Popen` that tests need.

    Its errors go to the same file as the rest of its output unless there is one for them.
    Raises ``OSError`` if the process that it is to be forked from has ended.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        output: IO[bytes],
        errors: IO[bytes] | None = None,
    ) -> None:
        order = {"module": module, "arguments": arguments, "env": dict(env), "cwd": str(cwd)}
        control = _first(SERVE if "serve" in arguments else REST, cwd)
        self._status, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with told:
            descriptors = [told.fileno(), output.fileno(), (errors or output).fileno()]
            socket.send_fds(control, [json.dumps(order).encode()], descriptors)
        self.returncode: int | None = None
        self.pid = int(self._read())

    def poll(self) -> int | None:
        """Return its exit status, negative after a signal, or ``None`` while it runs."""
        if self.returncode is None:
            self._status.setblocking(False)
            with suppress(BlockingIOError):
                self.returncode = int(self._read())
                self._status.close()
        return self.returncode

    def wait(self, timeout_s: float) -> int:
        """Wait for its end, and return its exit status. Raises ``subprocess.TimeoutExpired``."""
        ends_s = time.monotonic() + timeout_s
        while (status := self.poll()) is None:
            if time.monotonic() > ends_s:
                raise subprocess.TimeoutExpired(str(self.pid), timeout_s)
            time.sleep(PAUSE_S)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.send_signal(signal.SIGKILL)

    def _read(self) -> bytes:
        found = self._status.recv(64)
        if not found:
            raise OSError("the process that others are forked from has ended")
        return found


def can_fork() -> bool:
    """Return whether processes can be made in this way here."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


@cache
def _first(modules: tuple[str, ...], cwd: Path) -> socket.socket:
    """Start a process that loads the modules, and return the socket on which it is asked for others.

    It ends when that is closed, if only because this process has been killed; what it forked is ended first.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NEXTBEST_", "PROMETHEUS_"))}
    with theirs:
        first = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno()), *modules],
            env=kept,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        first.wait()

    atexit.register(end)
    return ours


class _First:
    """The process that others are forked from."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._told: dict[int, tuple[int, socket.socket]] = {}

    def run(self) -> dict[str, Any] | None:
        """Fork whenever it is asked for. Returns the order in each new process, and ``None`` at the end."""
        while True:
            for key, _ in self._selector.select():
                if key.fd in self._told:
                    self._tell_end(key.fd)
                    continue
                message, descriptors, *_ = socket.recv_fds(self._control, MESSAGE_BYTES, 3)
                if not message:
                    self._end_all()
                    return None
                told, *outputs = descriptors
                if self._fork(socket.socket(fileno=told), outputs):
                    order: dict[str, Any] = json.loads(message)
                    return order

    def _fork(self, told: socket.socket, outputs: Sequence[int]) -> bool:
        """Return true in the new process."""
        pid = os.fork()
        if pid:
            for output in outputs:
                os.close(output)
            told.send(str(pid).encode())
            ended = os.pidfd_open(pid)
            self._told[ended] = pid, told
            self._selector.register(ended, selectors.EVENT_READ)
            return False
        for number, output in enumerate(outputs, start=1):
            os.dup2(output, number)
            os.close(output)
        told.close()
        self._selector.close()
        self._control.close()
        for ended, (_, other) in self._told.items():
            os.close(ended)
            other.close()
        return True

    def _tell_end(self, ended: int) -> None:
        pid, told = self._told.pop(ended)
        _, status = os.waitpid(pid, 0)
        with told, suppress(OSError):  # nobody asks any more
            told.send(str(os.waitstatus_to_exitcode(status)).encode())
        self._selector.unregister(ended)
        os.close(ended)

    def _end_all(self) -> None:
        for ended, (pid, _) in list(self._told.items()):
            os.kill(pid, signal.SIGKILL)
            self._tell_end(ended)


def _load(modules: Sequence[str]) -> dict[str, str]:
    """Import the modules; return the variables that these have set."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        # Metrics are made for several processes; each makes its files anew, in its own folder, when it has been forked.
        os.environ[METRICS] = folder
        for module in modules:
            __import__(module)
    del os.environ[METRICS]
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


def _main() -> None:
    descriptor, *modules = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when the tests have ended
    by_modules = _load(modules)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(descriptor)) as control:
        order = _First(control).run()
    if order is None:
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(by_modules | order["env"])
    if METRICS not in os.environ:
        # The code makes metrics for several processes by now. A command line finds them a folder; others do not.
        folder = (
            Path(order["env"].get("NEXTBEST_DATA_DIR", tempfile.gettempdir())) / "metrics" / str(os.getpid())
        )
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[METRICS] = str(folder)
    sys.argv[1:] = order["arguments"]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
