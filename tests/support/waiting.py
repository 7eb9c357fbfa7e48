"""Waiting in tests: until a deadline, which follows progress, and with words for what did not come."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
DEADLINE_S = 60.0
"""Longer than anything takes that goes well, also on a machine with seven times as much to do as it can."""
MAX_WAIT_S = 500.0
"""However much goes on. Less than a test may take (``timeout`` in pyproject.toml), so that the wait is named."""
PAUSE_S = 0.01
MAX_PAUSE_S = 0.25


class Deadline:
    """The end of a wait. It is put off for as long as what ``progress`` returns differs from the time before.

    ``what`` completes "waited for"; ``explain`` adds to the message, a log for example.
    """

    def __init__(
        self,
        what: str,
        *,
        timeout_s: float = DEADLINE_S,
        progress: Callable[[], object] = lambda: None,
        explain: Callable[[], object] = lambda: "",
    ) -> None:
        self._what, self._timeout_s, self._progress, self._explain = what, timeout_s, progress, explain
        self._began_s = time.monotonic()
        self._ends_s = self._began_s + timeout_s
        self._seen = progress()

    def check(self, last: object = None) -> None:
        """Raise ``AssertionError`` if the time is over; ``last`` is what was seen instead of what was wanted."""
        now_s = time.monotonic()
        if now_s < self._ends_s:
            return
        # Looked at only here, because it may be expensive: whatever moved meanwhile is progress.
        seen = self._progress()
        if seen == self._seen or now_s > self._began_s + MAX_WAIT_S:
            waited = f"waited {now_s - self._began_s:.1f} s for {self._what}; last seen: {last!r}"
            raise AssertionError("\n".join(filter(None, (waited, str(self._explain())))))
        self._seen, self._ends_s = seen, now_s + self._timeout_s


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    *,
    timeout_s: float = DEADLINE_S,
    progress: Callable[[], object] = lambda: None,
    explain: Callable[[], object] = lambda: "",
) -> T:
    """Call ``condition`` until it returns something true, and return that. See `Deadline`."""
    deadline = Deadline(what, timeout_s=timeout_s, progress=progress, explain=explain)
    looked_s = time.monotonic()
    while not (found := condition()):
        deadline.check(found)
        time.sleep(_pause_s(looked_s))
        looked_s = time.monotonic()
    return found


async def eventually(
    condition: Callable[[], Awaitable[T | None]],
    what: str,
    *,
    timeout_s: float = DEADLINE_S,
    progress: Callable[[], object] = lambda: None,
    explain: Callable[[], object] = lambda: "",
) -> T:
    """Await ``condition`` until it returns something true, and return that. See `Deadline`."""
    deadline = Deadline(what, timeout_s=timeout_s, progress=progress, explain=explain)
    looked_s = time.monotonic()
    while not (found := await condition()):
        deadline.check(found)
        await asyncio.sleep(_pause_s(looked_s))
        looked_s = time.monotonic()
    return found


async def within(awaited: Awaitable[T], what: str, timeout_s: float = DEADLINE_S) -> T:
    """Await something that may never come. Raises ``AssertionError`` if it does not come in time."""
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await awaited
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(f"waited {timeout_s:.1f} s for {what}") from None


def _pause_s(looked_s: float) -> float:
    """Return how long to wait before the next look, after one that began at ``looked_s``.

    As long as it took, within bounds: a look that is expensive must not take the time that what is waited for needs.
    """
    return min(max(PAUSE_S, time.monotonic() - looked_s), MAX_PAUSE_S)
