"""The backlog of the log: what waits for a worker, and for how long."""

import logging

from app.state import ApiState
from storage import clock
from storage.errors import Unavailable

MAX_WAIT_S = 30.0
"""The worker needs less than a second; a busy one some seconds."""

log = logging.getLogger(__name__)


async def describe_backlog(state: ApiState) -> str | None:
    """Say which entries of the log wait for the worker for longer than ``MAX_WAIT_S``; ``None`` if none do."""
    found = []
    try:
        waiting = {"archived": await state.log_reader.oldest_behind(await state.archive.positions())}
        for key in state.feed.deciding():
            if state.replica.epoch(key) is not None:
                positions = await state.arms.load_positions(key)
                waiting[f"folded into {key}"] = await state.log_reader.oldest_behind(positions)
    except Unavailable as error:
        log.warning("the log's backlog is not known: %s", error)
        return "the backlog of the log is not known"
    for what, at_ms in waiting.items():
        age_s = 0.0 if at_ms is None else (clock.now_ms() - at_ms) / 1000
        if age_s > MAX_WAIT_S:
            found.append(f"the oldest entry that is not {what} has waited for {age_s:.0f} s")
    return f"{'; '.join(found)} (is the worker running?)" if found else None
