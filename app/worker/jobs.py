"""Rounds of background jobs: repeated for ever, whatever stores come and go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.metrics import JOB_FAILURES
from storage.errors import Unavailable
from storage.tasks import cancelled

log = logging.getLogger(__name__)

BACKOFF_S = 0.1
MAX_BACKOFF_S = 2.0


async def repeat(name: str, work: Callable[[], Awaitable[float]]) -> None:
    """Call ``work`` until this task is cancelled, sleeping as many seconds as it returns.

    After an error it is tried again, later and later: a job keeps its state outside of ``work``, or in the stores.
    """
    failures = 0
    while not cancelled():
        try:
            pause_s = await work()
            failures = 0
        except Unavailable as error:
            log.warning("%s waits: %s", name, error)
        except Exception:  # one poisoned round must not stop learning
            log.exception("a defect in %s", name)
        else:
            await asyncio.sleep(pause_s)
            continue
        failures += 1
        JOB_FAILURES.labels(name).inc()
        await asyncio.sleep(min(BACKOFF_S * 2**failures, MAX_BACKOFF_S))
