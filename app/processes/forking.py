"""API processes that share a port, forked once the modules that they need have been imported.

Each of them starts without the time that the imports take, also one that takes the place of another; and the memory of
modules is theirs together.
"""

import gc
import signal
import sys
from multiprocessing.context import ForkProcess
from types import SimpleNamespace

from uvicorn import _subprocess
from uvicorn.supervisors.multiprocess import SIGNALS

from app.processes.collector import spare_start
from app.processes.supervise import end_with_parent


class _Forked(ForkProcess):
    """A process with the signal handlers of a new one, which ends with its parent."""

    def start(self) -> None:
        """Fork. Signals wait until the new process has handlers of its own: those of its parent only take notes."""
        self._on_start = end_with_parent()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def run(self) -> None:
        """Do what it is for, in the new process."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if self._on_start is not None:
            self._on_start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        super().run()


def fork_processes() -> None:
    """Have the processes that uvicorn starts forked from this one, which imports their modules first.

    On Linux alone: elsewhere libraries may not bear it, and each process imports the modules by itself.
    """
    if sys.platform != "linux":
        return
    spare_start()
    import app.main  # noqa: F401

    # What is here stays; were it looked at, its memory would become each process's own.
    gc.collect()
    gc.freeze()
    # There is no setting for it, and a version of uvicorn without this name would go on as it does.
    _subprocess.spawn = SimpleNamespace(Process=_Forked)  # type: ignore[assignment]
