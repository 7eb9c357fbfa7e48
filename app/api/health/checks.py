"""Checks of the servers, for whoever says whether it is ready: that they answer, and that they take writes."""

import logging
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from storage.errors import Unavailable
from storage.failures import FailureLog
from storage.functions import FunctionKeeper
from storage.installation import RedisClaim
from storage.keys import PROBE
from storage.postgres import REFUSES_WRITES, find_refusal
from storage.redis_pipe import Pipe, RedisReplyError
from storage.redis_server import describe_refusal
from storage.tasks import leave_after

log = logging.getLogger(__name__)
failures = FailureLog(log)

CHECK_TIMEOUT_S = 1.0
OK = "ok"


async def check_postgres(engine: AsyncEngine, claim: RedisClaim) -> str:
    """Return ``ok``, or what is wrong with Postgres."""

    async def ask() -> str | None:
        return await find_refusal(engine) or claim.refusal

    return await _check("postgres", ask)


def refuses_writes(found: str) -> bool:
    """Return whether a check found a server that answers, and takes no writes."""
    return found.startswith(REFUSES_WRITES)


async def check_redis(pipe: Pipe, functions: FunctionKeeper) -> str:
    """Return ``ok``, or what is wrong with Redis: refused as it is, without functions, gone, or it takes no writes."""

    async def ask() -> str | None:
        try:
            # It would be refused as any write is; and it writes nothing.
            await pipe.call("SET", PROBE, "", "XX")
        except RedisReplyError as error:
            return describe_refusal(str(error))
        return None

    return pipe.refusal or functions.fault or await _check("redis", ask)


async def _check(what: str, ask: Callable[[], Awaitable[str | None]]) -> str:
    async def asked() -> str | None:
        return await ask()

    try:
        found = await leave_after(asked(), CHECK_TIMEOUT_S)
    except (Unavailable, TimeoutError) as error:
        # What exactly is wrong is for the log: it may name hosts and users, and this needs no key.
        failures.note(what, "%s is not ready: %s", what, error, error=error)
        return "does not answer"
    if found is not None:
        failures.note(what, f"%s is not ready: {found}", what)
        return found
    failures.recovered(what)
    return OK
