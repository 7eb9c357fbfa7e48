"""Tasks that run for as long as their process, or for as long as they are wanted."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any


class TaskSet:
    """Running tasks, one for each key that is wanted."""

    def __init__(self, start: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self._start = start
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def keys(self) -> frozenset[str]:
        """The keys whose tasks run."""
        return frozenset(self._running)

    def want(self, keys: Collection[str]) -> None:
        """Start what is missing, also what has ended by itself; end what is not wanted any more."""
        for key in self._running.keys() - set(keys):
            task = self._running.pop(key)
            task.cancel()
            # The event loop holds tasks weakly: one that is still ending must be held until it has.
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        for key in keys:
            task_of_key = self._running.get(key)
            if task_of_key is None or task_of_key.done():
                self._running[key] = asyncio.create_task(self._start(key))

    async def close(self) -> None:
        """End all of them, and wait for that."""
        self.want(())
        await asyncio.gather(*self._ending, return_exceptions=True)
