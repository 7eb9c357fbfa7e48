"""Evaluations: asked for through the API, run one after the other, each in a process of its own."""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import ConfigError, Settings, get_settings
from bandits.errors import BanditsError
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import DecisioningError
from decisioning.evaluation.service import evaluate, from_json, spec_of
from decisioning.evaluation.store_jobs import EvaluationStore, JobStore
from decisioning.evaluation.store_pages import HindsightReader
from decisioning.policies.store import PolicyStore
from storage.errors import StorageError, Unavailable
from storage.postgres import PATIENT_S, make_engine

log = logging.getLogger(__name__)

INTERVAL_S = 0.5
TIMEOUT_S = 3600.0
PROGRESS_INTERVAL_S = 1.0
CLAIM_S, CLAIM_EVERY_S = 5.0, 0.2
"""For so long, and so often, it is tried to claim what a process that has ended was running."""


@dataclass
class EvaluationRunner:
    """Run what was asked for, one at a time. ``run`` does it, and returns 0 if it came to an end."""

    store: EvaluationStore
    run: Callable[[str], Awaitable[int]]

    async def round(self) -> float:
        """Run the next evaluation; return how long to sleep. Raises ``PostgresUnavailable``."""
        taken = await self.store.take()
        if taken is None:
            return INTERVAL_S
        status = await self.run(taken)
        if status:
            await fail_ended(self.store, taken, f"its process ended with {status}")
        return 0.0


async def fail_ended(store: JobStore, job_id: str, why: str) -> None:
    """Say why there is no result of a job whose process has ended, unless somebody else has taken it over meanwhile."""
    # The server may notice only after a moment that the process, which had claimed it, is no more.
    until_s = time.monotonic() + CLAIM_S
    while True:
        async with store.claim(job_id) as mine:
            if mine:
                await store.fail(job_id, why)
        if mine or time.monotonic() >= until_s:
            return
        await asyncio.sleep(CLAIM_EVERY_S)


async def run_in_process(evaluation_id: str) -> int:
    """Run an evaluation in a process of its own, with the environment of this one; return its exit status."""
    # Neither answers nor learning wait for it then, and a policy that breaks its process breaks nothing else.
    return await run_module("app.worker.evaluation_runs", evaluation_id, TIMEOUT_S)


async def run_module(module: str, job_id: str, timeout_s: float) -> int:
    """Run a module with a job's id in a process of its own; return its exit status. It is killed after a time."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, job_id, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
    except asyncio.CancelledError:  # the worker stops: nothing of it may go on
        process.kill()
        raise


async def tell_again_and_again(tell: Callable[[], Awaitable[None]]) -> None:
    """Call ``tell``, which says how far a job is, every ``PROGRESS_INTERVAL_S`` until this task is cancelled."""
    while True:
        # A job goes on while Postgres is away for a moment, and must be known to be alive when it is back.
        with contextlib.suppress(Unavailable):
            await tell()
        await asyncio.sleep(PROGRESS_INTERVAL_S)


@contextlib.asynccontextmanager
async def telling_progress(store: JobStore, job_id: str) -> AsyncIterator[Callable[[int, int], None]]:
    """Tell the store how far a job is, again and again, until the block ends.

    Yields the function that notes it: so much done, of so much in all.
    """
    done = total = 0

    def note_progress(done_now: int, total_now: int) -> None:
        nonlocal done, total
        done, total = done_now, total_now

    async def report_progress() -> None:
        await store.progress(job_id, done, total)

    reporter = asyncio.create_task(tell_again_and_again(report_progress))
    try:
        yield note_progress
    finally:
        reporter.cancel()
        await asyncio.gather(reporter, return_exceptions=True)


async def run_evaluation(settings: Settings, evaluation_id: str) -> None:
    """Run a kept evaluation, and keep its result, or why there is none. Raises ``PostgresUnavailable``.

    One that another process runs already is left to that.
    """
    if settings.postgres_url is None:
        raise ConfigError("set NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL")
    # Three: the claim keeps a connection until the end.
    engine = make_engine(settings.postgres_url, pool_size=3, statement_s=PATIENT_S)
    store = EvaluationStore(engine)
    try:
        async with store.claim(evaluation_id) as mine:
            if mine:
                await _evaluate(engine, store, evaluation_id)
            else:
                log.warning(
                    "the evaluation %s is left: another process runs it, or has ended it", evaluation_id
                )
    finally:
        await engine.dispose()


async def _evaluate(engine: AsyncEngine, store: EvaluationStore, evaluation_id: str) -> None:
    try:
        request = from_json((await store.get(evaluation_id)).request)
        spec = await spec_of(request, PolicyStore(engine))
        async with telling_progress(store, evaluation_id) as note_progress:
            result = await evaluate(
                spec,
                request.scope,
                HindsightReader(engine),
                CatalogueStore(engine),
                time.perf_counter,
                note_progress,
            )
        await store.done(evaluation_id, result)
    except (DecisioningError, BanditsError, StorageError) as error:
        await store.fail(evaluation_id, str(error))


if __name__ == "__main__":
    asyncio.run(run_evaluation(get_settings(), sys.argv[1]))
