"""The expirer: closes decisions whose reward window is over, so that silence is learned from as well.

And it gives back what was reserved for offers of which nobody said in time that they were presented.
"""

from app.metrics import EXPIRED, RELEASED
from app.state import clock_ms
from decisioning.log.store_redis import GRACE_MS
from decisioning.log.store_stream import LogReader

AT_ONCE = 200


class Expirer:
    """Any number of them may run: closing a decision is one atomic step, and happens once."""

    def __init__(self, reader: LogReader, interval_s: float) -> None:
        self._reader = reader
        self._interval_s = interval_s

    async def round(self) -> float:
        """Release and close what is due; returns how long to sleep. Raises ``RedisUnavailable``."""
        unconfirmed = await self._reader.unconfirmed(clock_ms(), AT_ONCE)
        if unconfirmed:
            RELEASED.inc(await self._reader.release(unconfirmed, clock_ms()))
        due = await self._reader.due(clock_ms(), AT_ONCE)
        if due:
            EXPIRED.inc(await self._reader.expire(due, clock_ms(), GRACE_MS))
        return 0.0 if max(len(due), len(unconfirmed)) >= AT_ONCE else self._interval_s
