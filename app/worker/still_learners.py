"""Notices learners that stand still, so that the streams do not wait for them for ever."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from decisioning.model.position import StreamPosition

MAX_STILL_S = 600.0
"""The time after which a learner that folds nothing, though there is something, is waited for no longer."""

Positions = Mapping[int, StreamPosition]


@dataclass
class StillLearners:
    """Remembers since when each policy's arms have stood where they are, with entries behind them."""

    clock_s: Callable[[], float] = time.monotonic
    _since: dict[str, tuple[Positions, float]] = field(default_factory=dict, init=False)

    def still_s(self, key: str, arms: Positions, archived: Positions) -> float:
        """Return for how long (seconds) a policy's arms have not moved, though the log went on; 0 if they have.

        ``arms``: the folded positions by bucket; ``archived``: those up to which the log is archived.
        """
        behind = any(arms.get(bucket, StreamPosition.START) < end for bucket, end in archived.items())
        seen = self._since.get(key)
        if not behind or seen is None or seen[0] != arms:
            self._since[key] = (dict(arms), self.clock_s())
            return 0.0
        return self.clock_s() - seen[1]

    def forget(self, key: str) -> None:
        """Begin anew for a policy."""
        self._since.pop(key, None)
