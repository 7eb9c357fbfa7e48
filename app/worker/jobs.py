"""Rounds of background jobs: repeated for ever, whatever stores come and go."""

import logging
import time
from collections.abc import Awaitable, Callable

from app.metrics import JOB_FAILURES
from storage.errors import Unavailable
from storage.failures import FailureLog
from storage.tasks import cancelled, pause

log = logging.getLogger(__name__)

BACKOFF_S = 0.1
MAX_BACKOFF_S = 2.0
MAX_FAILING_S = 10.0
"""A job that fails for so long, without a round that went well, makes its worker unready."""


class JobHealth:
    """The jobs that fail, and since when; ``clock_s`` gives monotonic seconds."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._since_s: dict[str, float] = {}

    def note(self, name: str, *, failed: bool) -> None:
        """Note how a round of a job went."""
        if failed:
            self._since_s.setdefault(name, self._clock_s())
        else:
            self._since_s.pop(name, None)

    def forget(self, name: str) -> None:
        """Forget a job that has ended."""
        self._since_s.pop(name, None)

    def describe(self) -> str:
        """Name the jobs that have failed for ``MAX_FAILING_S`` or longer; ``ok`` if there are none."""
        now_s = self._clock_s()
        failing = {name: now_s - since_s for name, since_s in self._since_s.items()}
        told = [
            f"{name} for {for_s:.0f} s" for name, for_s in sorted(failing.items()) if for_s >= MAX_FAILING_S
        ]
        return f"failing: {', '.join(told)} (the log says why)" if told else "ok"


HEALTH = JobHealth()
"""The jobs of this process."""


async def repeat(name: str, work: Callable[[], Awaitable[float]]) -> None:
    """Call ``work`` until this task is cancelled, sleeping as many seconds as it returns.

    After an error it is tried again, later and later: a job keeps its state outside of ``work``, or in the stores.
    """
    failures, failure_log = 0, FailureLog(log)
    try:
        while not cancelled():
            try:
                pause_s = await work()
                failures = 0
                failure_log.recovered(name)
                HEALTH.note(name, failed=False)
            except Unavailable as error:
                failure_log.note(name, "%s waits: %s", name, error, error=error)
            except Exception as error:  # one poisoned round must not stop learning
                failure_log.note(
                    name, "a defect in %s", name, level=logging.ERROR, error=error, with_traceback=True
                )
            else:
                await pause(pause_s)
                continue
            failures += 1
            HEALTH.note(name, failed=True)
            JOB_FAILURES.labels(name).inc()
            await pause(min(BACKOFF_S * 2**failures, MAX_BACKOFF_S))
    finally:
        HEALTH.forget(name)
