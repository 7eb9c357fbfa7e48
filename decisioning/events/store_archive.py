"""Events in the archive, read for rebuilding. They are written with the rest of the log (``log.store_archiver``)."""

from collections.abc import AsyncIterator, Collection, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_sql import event_of_row
from decisioning.model.logged_event import LoggedEvent
from storage.clock import to_datetime
from storage.postgres import transaction

BATCH_SIZE = 500


class EventArchive:
    """Reads archived events. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def among(self, wanted: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Pick out those that are archived. ``wanted``: pairs of a customer and the id of an event."""
        if not wanted:
            return set()
        query = text(
            "SELECT DISTINCT customer_id, event_id FROM events"
            " JOIN unnest(CAST(:customers AS text[]), CAST(:ids AS text[])) AS wanted (customer, id)"
            " ON customer_id = customer AND event_id = id"
        )
        customers, ids = zip(*wanted, strict=True)
        async with transaction(self._engine) as connection:
            rows = await connection.execute(query, {"customers": list(customers), "ids": list(ids)})
            return {(row.customer_id, row.event_id) for row in rows}

    async def by_customer(self, since_ms: int) -> AsyncIterator[Sequence[LoggedEvent]]:
        """Yield the events of each customer who has any that happened since then (Unix ms)."""
        query = text("SELECT * FROM events WHERE occurred_at >= :since ORDER BY customer_id")
        found: list[LoggedEvent] = []
        async with transaction(self._engine) as connection:
            stream = await connection.stream(
                query, {"since": to_datetime(since_ms)}, execution_options={"yield_per": BATCH_SIZE}
            )
            async for rows in stream.partitions(BATCH_SIZE):
                for one in map(event_of_row, rows):
                    if found and found[0].event.customer_id != one.event.customer_id:
                        yield found
                        found = []
                    found.append(one)
        if found:
            yield found
