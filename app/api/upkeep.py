"""The work of an API process beside its requests, for as long as it runs, whatever stores come and go."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from app.keys import KeyStore, KeyUse
from decisioning.events.store_population import PopulationStore
from decisioning.log.store_watch import ArchiveWatch
from storage.errors import PostgresUnavailable, RedisUnavailable, Unavailable
from storage.failures import FailureLog
from storage.functions import FunctionKeeper
from storage.installation import RENEW_S, RedisClaim
from storage.redis_pipe import Pipe
from storage.tasks import cancelled, pause

log = logging.getLogger(__name__)

FUNCTIONS_PAUSE_S = 0.02
ARCHIVE_WATCH_S = 5.0
KEY_USE_S = 5.0
POPULATION_S = 15.0


class Kept(Protocol):
    """The objects that these tasks look after: parts of the state of a process."""

    pipe: Pipe
    functions: FunctionKeeper
    archive_watch: ArchiveWatch
    redis_claim: RedisClaim
    key_use: KeyUse
    key_store: KeyStore
    population: PopulationStore


def upkeep(state: Kept) -> list[Coroutine[Any, Any, None]]:
    """Make the tasks of a process; each runs until it is cancelled."""
    return [
        _keep_functions(state),
        _watch_archive(state),
        _keep_claim(state),
        _note_key_use(state),
        _read_population(state),
    ]


async def _read_population(state: Kept) -> None:
    """Read again and again what is usual among all customers."""
    while not cancelled():
        with contextlib.suppress(RedisUnavailable):
            await state.population.refresh()
        await pause(POPULATION_S)


async def _watch_archive(state: Kept) -> None:
    """Look again and again whether the log is being archived."""
    while not cancelled():
        await asyncio.sleep(ARCHIVE_WATCH_S)
        with contextlib.suppress(RedisUnavailable):
            await state.archive_watch.look()


async def _keep_claim(state: Kept) -> None:
    """Tell again and again which Redis database is in use here."""
    while not cancelled():
        await asyncio.sleep(RENEW_S)
        with contextlib.suppress(Unavailable):
            await state.redis_claim.renew()


async def _note_key_use(state: Kept) -> None:
    """Note in Postgres, seldom and beside all requests, which keys were used."""
    while not cancelled():
        await asyncio.sleep(KEY_USE_S)
        with contextlib.suppress(PostgresUnavailable):
            await state.key_use.note(state.key_store)


async def _keep_functions(state: Kept) -> None:
    """Load the function library again should Redis have lost it (a new server, FUNCTION FLUSH, a failover)."""
    failures = FailureLog(log)
    while not cancelled():
        # At once when a function was not found; the pause keeps that from becoming a storm.
        await asyncio.sleep(FUNCTIONS_PAUSE_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(state.pipe.lacks_functions.wait(), 1.0)
        state.pipe.lacks_functions.clear()
        with contextlib.suppress(RedisUnavailable):
            await state.functions.keep()
            failures.recovered("loading functions")
        if state.functions.fault is not None:
            failures.note("loading functions", "functions cannot be used: %s", state.functions.fault)
