"""The expirer: it closes decisions whose reward window is over, so that silence is learned from as well."""

from dataclasses import dataclass

from app.metrics import EXPIRED, RELEASED, SWEPT
from decisioning.log.closing_service import ArchivedClosing
from decisioning.log.owners import GRACE_MS
from decisioning.log.store_stream import LogReader
from storage import clock

BATCH_SIZE = 200


@dataclass
class Expirer:
    """Close and release what is due. Any number may run: closing a decision is one atomic step, and happens once."""

    reader: LogReader
    closing: ArchivedClosing
    interval_s: float

    async def round(self) -> float:
        """Release and close what is due; return how long to sleep. Raises ``Unavailable``."""
        # What was reserved for offers of which nobody said in time that they were presented is given back.
        unconfirmed = await self.reader.unconfirmed(clock.now_ms(), BATCH_SIZE)
        if unconfirmed:
            RELEASED.inc(await self.reader.release(unconfirmed, clock.now_ms()))
        due = await self.reader.due(clock.now_ms(), BATCH_SIZE)
        if due:
            closed, left = await self.reader.expire_present(due, clock.now_ms(), GRACE_MS)
            EXPIRED.inc(closed)
            SWEPT.inc(await self.closing.close(left, clock.now_ms()))
        return 0.0 if max(len(due), len(unconfirmed)) >= BATCH_SIZE else self.interval_s
