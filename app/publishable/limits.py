"""Rates of requests, of a key and of each of its visitors: buckets of tokens, in each process for itself."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

MAX_REMEMBERED = 100_000
"""Of so many keys and visitors a process remembers what they used; who was longest away is forgotten first."""


@dataclass(slots=True)
class RateLimits:
    """Use of each limit in this process.

    A limit of ``n`` a minute lets ``n`` requests through at once, and one more each ``60 / n`` seconds after.
    """

    clock_s: Callable[[], float] = time.monotonic
    most: int = MAX_REMEMBERED
    _full_at: OrderedDict[str, float] = field(default_factory=OrderedDict)
    """When each bucket will be full again: all that is to be known of it (GCRA, ITU-T I.371)."""

    def take(self, name: str, per_minute: int, count: int = 1) -> int:
        """Take ``count``. Return 0, or the seconds to wait if not even one is left; nothing is taken then.

        More than what is left is owed, and waited for by those that come after: ``count`` may be more than the limit.
        """
        now_s, step_s = self.clock_s(), 60.0 / per_minute
        full_at = max(self._full_at.get(name, now_s), now_s)
        # A little more than a minute is rounding.
        if full_at + step_s - now_s > 60.0 + 1e-6:
            return max(1, ceil(full_at + step_s - now_s - 60.0))
        self._full_at[name] = full_at + step_s * count
        self._full_at.move_to_end(name)
        if len(self._full_at) > self.most:
            self._full_at.popitem(last=False)
        return 0
