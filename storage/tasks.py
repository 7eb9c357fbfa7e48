"""Help for loops that run until their task is cancelled, and for work that nobody may have to wait for."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

A = TypeVar("A")
T = TypeVar("T")

_left_behind: set[asyncio.Task[Any]] = set()


def cancelled() -> bool:
    """Return whether the running task has been asked to end; a loop asks this after each round."""
    # A request to end can get lost inside one: a library may turn a cancellation into a time-out of its own, or give
    # back a result that came at the same moment.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def pause(seconds: float) -> None:
    """Sleep, but not if the running task has been asked to end: a request that got lost would not end the sleep."""
    if not cancelled():
        await asyncio.sleep(seconds)


async def each_of(items: Sequence[T], work: Callable[[T], Awaitable[A]], at_once: int) -> list[A]:
    """Do work for each item, ``at_once`` of them at a time, begun in their order; results are in that order, too."""
    results: dict[int, A] = {}
    numbered = iter(enumerate(items))

    async def go_on() -> None:
        for place, item in numbered:
            results[place] = await work(item)

    await asyncio.gather(*(go_on() for _ in range(min(at_once, len(items)))))
    return [results[place] for place in range(len(items))]


async def leave_after(work: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """Do work in a task of its own, and wait for it for at most ``timeout_s``; also a cancelled caller leaves at once.

    What is left behind is cancelled, and ends by itself: drivers close connections then, which takes seconds when a
    server does not answer. Raises ``TimeoutError``.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait([task], timeout=timeout_s)
    finally:
        if not task.done():
            task.cancel()
            # The event loop holds tasks weakly: one that is still ending must be held until it has.
            _left_behind.add(task)
            task.add_done_callback(_forget)
    if not done:
        raise TimeoutError(f"not done in {timeout_s:g} s")
    return task.result()


def _forget(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()  # nobody else asks for it
