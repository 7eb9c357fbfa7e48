"""Failures that repeat: written once, then counted, and summed up each minute and when they are over."""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

SUMMARY_S = 60.0
MAX_KINDS = 1_000
"""Kinds of failures that are told apart at once; when there are more, the oldest is forgotten."""


@dataclass(slots=True)
class _Repeating:
    """A kind of failure that was written: when it began, and what has been counted since the last line."""

    began_s: float
    told_s: float
    more: int = 0
    in_all: int = 1


class FailureLog:
    """Writes the first failure of a kind to ``log``, and one line a minute for all others of it.

    A kind is what fails, the text of the line and the class of the error, so another reason is written at once. Loops
    and requests that fail many times a second use it; what comes seldom is written to a logger as ever.
    """

    def __init__(
        self,
        log: logging.Logger,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        summary_s: float = SUMMARY_S,
    ) -> None:
        self._log = log
        self._clock_s = clock_s
        self._summary_s = summary_s
        self._repeating: dict[tuple[Hashable, str, type | None], _Repeating] = {}

    def note(
        self,
        what: Hashable,
        message: str,
        *values: object,
        level: int = logging.WARNING,
        error: BaseException | None = None,
        with_traceback: bool = False,
    ) -> None:
        """Write, or count, a failure of ``what``. ``message`` and ``values`` are as for a logger."""
        kind = (what, message, None if error is None else type(error))
        now_s = self._clock_s()
        known = self._repeating.get(kind)
        if known is not None and now_s - known.told_s >= 2 * self._summary_s and not known.more:
            known = None  # it was over, and nobody said so
        if known is None:
            self._log.log(level, message, *values, exc_info=error if with_traceback else None)
            self._repeating.pop(kind, None)
            while len(self._repeating) >= MAX_KINDS:
                self._repeating.pop(next(iter(self._repeating)))
            self._repeating[kind] = _Repeating(now_s, now_s)
            return
        known.in_all += 1
        known.more += 1
        if now_s - known.told_s >= self._summary_s:
            self._summarise(known, now_s, level, message, values)
        elif known.more == 1:
            self._sum_up_later(known, level, message, values)

    def recovered(self, what: Hashable) -> None:
        """Write how often ``what`` failed, if it did; whatever it does next is new. Cheap when nothing failed."""
        if not self._repeating:
            return
        over = [self._repeating.pop(kind) for kind in [kind for kind in self._repeating if kind[0] == what]]
        if not over:
            return
        for one in over:
            one.more = 0  # nothing is left to be summed up
        lasted_s = self._clock_s() - min(one.began_s for one in over)
        times = sum(one.in_all for one in over)
        self._log.info("%s works again: failed %d times in %.0f s", what, times, lasted_s)

    def _sum_up_later(self, known: _Repeating, level: int, message: str, values: tuple[object, ...]) -> None:
        """Sum up in a minute, should no later failure do so."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a process without a loop: the next failure sums up
            return

        def sum_up() -> None:
            if known.more:
                self._summarise(known, self._clock_s(), level, message, values)

        loop.call_later(self._summary_s, sum_up)

    def _summarise(
        self, known: _Repeating, now_s: float, level: int, message: str, values: tuple[object, ...]
    ) -> None:
        self._log.log(
            level, f"{message} (%d times more in %.0f s)", *values, known.more, now_s - known.told_s
        )
        known.more, known.told_s = 0, now_s
