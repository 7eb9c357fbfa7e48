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
    """Remembers since when each policy's arms have stood where they are in a bucket, with entries behind them.

    Workers share buckets, so some may stand still while others move.
    """

    clock_s: Callable[[], float] = time.monotonic
    _since: dict[str, dict[int, tuple[StreamPosition, float]]] = field(default_factory=dict, init=False)

    def still_s(self, key: str, arms: Positions, archived: Positions) -> float:
        """Return for how long (seconds) a policy's arms have not moved in any bucket whose log went on; 0 if all have.

        ``arms``: the folded positions by bucket; ``archived``: those up to which the log is archived, of some buckets.
        """
        now_s, seen = self.clock_s(), self._since.setdefault(key, {})
        for bucket in [
            b for b, (position, _) in seen.items() if arms.get(b, StreamPosition.START) != position
        ]:
            del seen[bucket]
        for bucket, end in archived.items():
            position = arms.get(bucket, StreamPosition.START)
            if position < end:
                seen.setdefault(bucket, (position, now_s))
        return max((now_s - since_s for _, since_s in seen.values()), default=0.0)

    def forget(self, key: str) -> None:
        """Begin anew for a policy."""
        self._since.pop(key, None)
