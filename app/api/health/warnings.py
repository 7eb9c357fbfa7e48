"""Warnings: what somebody should look at, though requests are answered."""

import logging

from app.api.health.backlog import oldest_waiting
from app.state import ApiState
from decisioning.log.store_watch import read_worker
from storage import clock
from storage.clock import shared
from storage.errors import Unavailable
from storage.failures import FailureLog

MAX_WAIT_S = 30.0
"""The worker needs less than a second; a busy one some seconds."""

MAX_SILENCE_S = 30.0
"""A worker says every few seconds that it is at work."""

MAX_SKEW_MS = 5_000
"""A difference between clocks of which people are told."""

log = logging.getLogger(__name__)
failures = FailureLog(log)


async def describe_worker(state: ApiState) -> str | None:
    """Say that no worker is at work: by its own signs, which come without traffic too, and by what waits for it."""
    try:
        seen_ms = await read_worker(state.redis)
        failures.recovered("the sign of a worker")
    except Unavailable as error:
        failures.note(
            "the sign of a worker", "it is not known whether a worker is at work: %s", error, error=error
        )
        seen_ms = None
    silent_s = None if seen_ms is None else (clock.now_ms() - seen_ms) / 1000
    silence = None
    if silent_s is None:
        silence = "no worker has been seen"
    elif silent_s > MAX_SILENCE_S:
        silence = f"no worker has been seen for {silent_s:.0f} s"
    return "; ".join(filter(None, (silence, await describe_backlog(state)))) or None


async def describe_backlog(state: ApiState) -> str | None:
    """Say which entries of the log wait for the worker for longer than ``MAX_WAIT_S``; ``None`` if none do."""
    found = []
    try:
        waiting = await oldest_waiting(state)
    except Unavailable as error:
        failures.note("the backlog", "the log's backlog is not known: %s", error, error=error)
        return "the backlog of the log is not known"
    for what, at_ms in waiting.items():
        age_s = 0.0 if at_ms is None else (clock.now_ms() - at_ms) / 1000
        if age_s > MAX_WAIT_S:
            found.append(f"the oldest entry that is not {what} has waited for {age_s:.0f} s")
    return f"{'; '.join(found)} (is the worker running?)" if found else None


def describe_policies(state: ApiState) -> str | None:
    """Name the policies that do not learn, or cannot be used here; ``None`` if all are well.

    Why is not said, since this needs no key, and reasons may name packages and files.
    """
    failed, unusable = state.feed.out_of_order()
    found = []
    if failed:
        found.append(f"set aside since they failed, and folded anew: {', '.join(failed)}")
    if unusable:
        found.append(f"cannot be used here: {', '.join(unusable)}")
    return f"{'; '.join(found)} (`nextbest policies show` says why)" if found else None


def describe_skew() -> str | None:
    """Say how wrong this machine's clock is; ``None`` if it is right."""
    skew_ms = shared.skew_ms()
    if abs(skew_ms) < MAX_SKEW_MS:
        return None
    way = "ahead of" if skew_ms > 0 else "behind"
    return (
        f"this machine's clock is {abs(skew_ms) / 1000:.0f} s {way} that of redis, which is gone by:"
        " set one of them right"
    )
