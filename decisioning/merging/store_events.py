"""Events of aliases, found again by the marks of their ids: in the archive, and in the streams behind it."""

from collections.abc import Collection, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.events.store_events import REMEMBER_MS, id_mark
from decisioning.log.store_sql import event_of_row
from decisioning.log.store_stream import LogReader
from decisioning.model.position import StreamPosition
from profiles.events.event import Event
from storage.clock import DAY_MS, to_datetime
from storage.keys import Keys
from storage.postgres import transaction

_EVENTS = text("SELECT * FROM events WHERE customer_id = ANY(:names) AND occurred_at >= :since")
_ARCHIVED = text("SELECT position FROM archived WHERE bucket = :bucket")


class MarkedEvents:
    """Finds events. Methods raise ``PostgresUnavailable`` and ``RedisUnavailable``."""

    def __init__(self, engine: AsyncEngine, reader: LogReader, keys: Keys) -> None:
        self._engine = engine
        self._reader = reader
        self._keys = keys

    async def find(self, names: Collection[str], marks: Collection[bytes], now_ms: int) -> list[Event]:
        """Find those events of some customers whose ids have these marks, one of each, of the last days."""
        buckets = {self._keys.bucket(name) for name in names}
        # In this order: what is archived meanwhile is found twice rather than not at all.
        async with transaction(self._engine) as connection:
            positions = {b: await connection.scalar(_ARCHIVED, {"bucket": b}) for b in buckets}
            since = to_datetime(now_ms - REMEMBER_MS - DAY_MS)
            rows = await connection.execute(_EVENTS, {"names": list(names), "since": since})
            events = [event_of_row(row).event for row in rows]
        for bucket, position in positions.items():
            events += await self._behind(bucket, StreamPosition(position or StreamPosition.START))
        wanted = {id_mark(event.event_id): event for event in events if event.customer_id in names}
        return [event for mark, event in wanted.items() if mark in marks]

    async def _behind(self, bucket: int, position: StreamPosition) -> Sequence[Event]:
        found: list[Event] = []
        while True:
            batch = await self._reader.read(
                {bucket: position}, count=10_000, block_ms=None, decisions=True, buckets=[bucket]
            )
            if not batch.last:
                return found
            found += [one.event for one in batch.events]
            position = batch.last[bucket]
