"""Outcomes that wait to be sent in the background: bounded, in batches, none lost without being counted."""

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nextbest_client.answers import Json
from nextbest_client.errors import Refused

log = logging.getLogger("nextbest_client")

Dropped = Literal["full", "refused", "local", "closed"]
"""Why an outcome was dropped: too many wait; the service refused it; the client itself made the decision; or the client
was closed before it could be sent."""

MAX_WAITING = 10_000
BATCH_SIZE = 200
INTERVAL_S = 0.25
MAX_PAUSE_S = 30.0
SEND_TIMEOUT_S = 10.0
CLOSE_S = 5.0
"""So long does closing wait for what is left to be sent."""


@dataclass(slots=True)
class Outbox:
    """A bounded queue of outcomes. Safe for threads. ``sent`` and ``dropped`` count what became of them."""

    most: int = MAX_WAITING
    batch_size: int = BATCH_SIZE
    sent: int = 0
    dropped: Counter[Dropped] = field(default_factory=Counter)
    _items: deque[Json] = field(default_factory=deque)
    _failures: int = 0
    _not_before_s: float = 0.0
    """After a failure: when the next batch may be sent, by the monotonic clock."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Json) -> bool:
        """Add an outcome. Return False, and count it, if too many wait."""
        with self._lock:
            if len(self._items) >= self.most:
                self.drop("full")
                return False
            self._items.append(item)
            return True

    def drop(self, reason: Dropped, count: int = 1, why: str = "") -> None:
        """Count outcomes that will not be sent, and say so in the log."""
        with self._lock:
            before, self.dropped[reason] = self.dropped[reason], self.dropped[reason] + count
        # The first of them, then at each power of two: a service that is away for long must not fill a log.
        if before == 0 or before.bit_length() != (before + count).bit_length():
            log.warning("outcomes dropped (%s): %d so far%s", reason, before + count, why and f"; {why}")

    def take(self) -> list[Json]:
        """Take the next batch, the oldest first."""
        with self._lock:
            return [self._items.popleft() for _ in range(min(self.batch_size, len(self._items)))]

    def settle(self, batch: Sequence[Json], answers: Sequence[Any]) -> None:
        """Count what was taken of a batch, drop what was refused, and put back what may be sent again."""
        again = [i for i, answer in zip(batch, answers, strict=True) if answer["code"] == 503]
        refused = [a for a in answers if a["status"] == "refused" and a["code"] != 503]
        with self._lock:
            self.sent += len(batch) - len(again) - len(refused)
            self.put_back(again)
            self._failures = self._failures + 1 if again else 0
            self._rest()
        if refused:
            self.drop("refused", len(refused), str(refused[0]["reason"]))

    def fail(self, batch: Sequence[Json], error: Exception) -> None:
        """Put a batch back that could not be sent; drop it if it never could."""
        if isinstance(error, Refused):
            self.drop("refused", len(batch), str(error))
            return
        with self._lock:
            if not self._failures:
                log.warning("outcomes cannot be sent just now and are kept: %s", error)
            self._failures += 1
            self._rest()
            self.put_back(batch)

    def put_back(self, batch: Sequence[Json]) -> None:
        """Put a batch back that was not sent, before all others."""
        with self._lock:
            self._items.extendleft(reversed(batch))

    def pause_s(self, draw: float) -> float:
        """Compute the pause before the next batch: none while there is more, longer after failures."""
        if self._failures:
            return max(INTERVAL_S, draw * min(MAX_PAUSE_S, INTERVAL_S * 2.0 ** min(self._failures, 64)))
        return 0.0 if len(self._items) >= self.batch_size else INTERVAL_S

    def is_due(self) -> bool:
        """Return whether a batch may be sent: not while it rests after a failure."""
        return not self._failures or time.monotonic() >= self._not_before_s

    def wait_s(self) -> float:
        """Compute how long to wait before the next batch, from now on."""
        # One that is empty rests for nothing, and what is put into it is not to wait for long.
        if self._failures and self._items:
            return max(0.0, self._not_before_s - time.monotonic())
        return 0.0 if len(self._items) >= self.batch_size else INTERVAL_S

    def _rest(self) -> None:
        self._not_before_s = time.monotonic() + self.pause_s(random.random())

    def close(self) -> None:
        """Drop what is left."""
        with self._lock:
            left = len(self._items)
            self._items.clear()
        if left:
            self.drop("closed", left)
