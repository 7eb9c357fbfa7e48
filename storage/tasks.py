"""Help for loops that run until their task is cancelled."""

import asyncio


def cancelled() -> bool:
    """Return whether the running task has been asked to end; a loop asks this after each round."""
    # A request to end can get lost inside one: a library may turn a cancellation into a time-out of its own, or give
    # back a result that came at the same moment.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
