"""Keep a few processes running: start them, start them again when they crash, stop them together."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from storage.failures import FailureLog

POLL_S = 0.05
WATCH_S = 1.0
PR_SET_PDEATHSIG = 1

log = logging.getLogger("supervise")


@dataclass(frozen=True)
class Command:
    """A process to keep running. `env` is its whole environment; None for ours."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None


@dataclass(frozen=True)
class RestartLimits:
    """Delays and limits of the supervisor; all times in seconds.

    A process that ends is started again after `first_delay_s`, doubled each time up to `max_delay_s`. One
    that has run for `steady_s` is trusted anew. After `max_attempts` failures in a row, none steady, all is
    stopped. `grace_s` is how long a process may take to stop when asked.
    """

    first_delay_s: float = 0.2
    max_delay_s: float = 10.0
    steady_s: float = 10.0
    max_attempts: int = 8
    grace_s: float = 20.0


@dataclass
class Child:
    """A command with its present process, if any, and its record."""

    command: Command
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    failures: int = 0

    def start(self) -> None:
        """Start the process."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            list(self.command.argv),
            env=None if self.command.env is None else dict(self.command.env),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C reaches it only through us
            preexec_fn=end_with_parent(),
        )

    @property
    def running(self) -> bool:
        """True while the process is alive."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to the process itself; it tells its own children."""
        if self.process is not None and self.running:
            self.process.send_signal(number)

    def sweep(self) -> None:
        """End by force whatever is left of the process and of the children that it had."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def stop(children: Sequence[Child], number: int, grace_s: float) -> None:
    """Send a signal to all, wait for a grace period, then end by force what is left."""
    for child in children:
        child.signal(number)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(child.running for child in children):
        time.sleep(POLL_S)
    for child in children:
        child.sweep()


@contextmanager
def logged(command: Command, log: Path, grace_s: float) -> Iterator[Child]:
    """Run a process with its output appended to a file, until the block ends."""
    into_log = ("/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1', str(log))
    child = Child(replace(command, argv=(*into_log, *command.argv)))
    child.start()
    try:
        yield child
    finally:
        stop([child], signal.SIGTERM, grace_s)


class Supervisor:
    """Runs commands until a signal comes, or one fails for good. `watch` is called every second; errors are logged."""

    def __init__(
        self,
        commands: Sequence[Command],
        limits: RestartLimits | None = None,
        *,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._children = [Child(command) for command in commands]
        self._limits = limits or RestartLimits()
        self._watch = watch
        self._watch_at = 0.0
        self._received: int | None = None
        self._failures = FailureLog(log)

    def run(self) -> int:
        """Block until SIGTERM or SIGINT, passed on to all, or until a command is given up.

        Returns 0 after a signal, else the exit status of the command that was given up (1 if a signal ended it).
        """
        with self._signals():
            try:
                while self._received is None:
                    self._call_watch()
                    for child in self._children:
                        status = self._look_after(child)
                        if status is not None:
                            return status
                    time.sleep(POLL_S)
                return 0
            finally:
                stop(self._children, self._received or signal.SIGTERM, self._limits.grace_s)

    def _call_watch(self) -> None:
        if time.monotonic() < self._watch_at:
            return
        try:
            self._watch()
            self._failures.recovered("watch")
        except Exception as error:
            self._failures.note(
                "watch", "watch.failed", level=logging.ERROR, error=error, with_traceback=True
            )
        self._watch_at = time.monotonic() + WATCH_S

    def _look_after(self, child: Child) -> int | None:
        """Start, or start again, what should run; return an exit status if the command is given up."""
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                child.start()
            return None
        status = child.process.poll()
        if status is None:
            return None
        child.sweep()  # children of a process that crashed may still hold its port
        child.process = None
        child.failures = 1 if now - child.started_at >= self._limits.steady_s else child.failures + 1
        if child.failures >= self._limits.max_attempts:
            log.error(
                "process %s is given up: it ended with %d, %d times in a row",
                child.command.name,
                status,
                child.failures,
            )
            return status if status > 0 else 1
        doubled = self._limits.first_delay_s * 2 ** (child.failures - 1)
        delay_s = min(doubled, self._limits.max_delay_s)
        log.warning(
            "process %s ended with %d; it is started again in %g s", child.command.name, status, delay_s
        )
        child.start_at = now + delay_s
        return None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received = number


def end_with_parent() -> Callable[[], None] | None:
    """Make what a new process does first: on Linux, ask for SIGTERM should its parent be killed."""
    if sys.platform != "linux":
        return None
    # Loaded here: between fork and exec only what is loaded already may be called.
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
