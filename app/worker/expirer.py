"""The expirer: closes decisions whose reward window is over, so that silence is learned from as well."""

from app.metrics import EXPIRED
from app.state import clock_ms
from decisioning.stores.log import GRACE_MS
from decisioning.stores.streams import LogReader

AT_ONCE = 200


class Expirer:
    """Any number of them may run: closing a decision is one atomic step, and happens once."""

    def __init__(self, reader: LogReader, interval_s: float) -> None:
        self._reader = reader
        self._interval_s = interval_s

    async def round(self) -> float:
        """Close what is due; returns how long to sleep. Raises ``RedisUnavailable``."""
        due = await self._reader.due(clock_ms(), AT_ONCE)
        if due:
            EXPIRED.inc(await self._reader.expire(due, clock_ms(), GRACE_MS))
        return 0.0 if len(due) >= AT_ONCE else self._interval_s
