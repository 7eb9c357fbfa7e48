"""Rounds of background jobs: repeated for ever, whatever stores come and go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.metrics import JOB_FAILURES
from storage.errors import Unavailable
from storage.failures import FailureLog
from storage.tasks import cancelled

log = logging.getLogger(__name__)

BACKOFF_S = 0.1
MAX_BACKOFF_S = 2.0


async def repeat(name: str, work: Callable[[], Awaitable[float]]) -> None:
    """Call ``work`` until this task is cancelled, sleeping as many seconds as it returns.

    After an error it is tried again, later and later: a job keeps its state outside of ``work``, or in the stores.
    """
    failures, failure_log = 0, FailureLog(log)
    while not cancelled():
        try:
            pause_s = await work()
            failures = 0
            failure_log.recovered(name)
        except Unavailable as error:
            failure_log.note(name, "%s waits: %s", name, error, error=error)
        except Exception as error:  # one poisoned round must not stop learning
            failure_log.note(
                name, "a defect in %s", name, level=logging.ERROR, error=error, with_traceback=True
            )
        else:
            await asyncio.sleep(pause_s)
            continue
        failures += 1
        JOB_FAILURES.labels(name).inc()
        await asyncio.sleep(min(BACKOFF_S * 2**failures, MAX_BACKOFF_S))
