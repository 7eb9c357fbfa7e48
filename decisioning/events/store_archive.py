"""Events in the archive, read for rebuilding. They are written with the rest of the log (``log.store_archiver``)."""

from collections.abc import AsyncIterator, Collection, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_sql import event_of_row
from decisioning.model.logged_event import LoggedEvent
from storage.clock import to_datetime
from storage.postgres import transaction

BATCH_SIZE = 500

_BY_CUSTOMER = """
WITH RECURSIVE behind AS (
    SELECT alias, customer_id AS root FROM aliases
    UNION ALL SELECT b.alias, a.customer_id FROM behind b JOIN aliases a ON a.alias = b.root
), roots AS (SELECT alias, root FROM behind WHERE NOT EXISTS (SELECT FROM aliases WHERE alias = root))
SELECT e.*, coalesce(r.root, e.customer_id) AS person FROM events e LEFT JOIN roots r ON r.alias = e.customer_id
WHERE e.occurred_at >= :since {those} ORDER BY person
"""
_THOSE = "AND e.customer_id = ANY(:names)"


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

    async def by_customer(
        self, since_ms: int, names: Collection[str] | None = None
    ) -> AsyncIterator[tuple[str, Sequence[LoggedEvent]]]:
        """Yield each customer who has events that happened since then (Unix ms), with these.

        Those of visitors who signed in are the customer's, and name the visitor. ``names``: whose events alone are
        read, if that is given.
        """
        query, person = text(_BY_CUSTOMER.format(those="" if names is None else _THOSE)), ""
        found: list[LoggedEvent] = []
        async with transaction(self._engine) as connection:
            stream = await connection.stream(
                query,
                {"since": to_datetime(since_ms)} | ({} if names is None else {"names": list(names)}),
                execution_options={"yield_per": BATCH_SIZE},
            )
            async for rows in stream.partitions(BATCH_SIZE):
                for row in rows:
                    if found and person != row.person:
                        yield person, found
                        found = []
                    person = row.person
                    found.append(event_of_row(row))
        if found:
            yield person, found
