"""The archived log in the order of time, a page after the other, for evaluations."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_archive import BATCH_SIZE
from decisioning.log.store_sql import IS_CLOSED, RESULT_KNOWN, decision_of_row, outcome_of_row
from decisioning.model.deciders import HISTORY
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Outcome
from storage.postgres import transaction

PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Span:
    """Decisions of a placement from ``start`` to before ``end`` whose reward window is closed.

    ``decisions``: how many they are. ``open``: how many there are beside them whose window is still open.
    ``imported``: how many imported ones there are at all times that were asked for. They are not among the others,
    since nobody knows with which probability they were made.
    """

    placement: str
    start: datetime
    end: datetime
    decisions: int
    open: int
    imported: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """The decisions of some stretch of time, in its order, and what became of all decisions of that stretch."""

    decided: Sequence[LoggedDecision]
    outcomes: Sequence[Outcome]


class HindsightReader:
    """Reads pages of the log. No transaction lasts longer than a page. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def span(
        self, placement: str, start: datetime | None, end: datetime | None, limit: int
    ) -> Span | None:
        """The newest ``limit`` decisions of a placement between two times whose window is closed.

        Imported history does not count toward ``limit``. Only ``open`` ones are between them if none is closed, only
        ``imported`` ones if there are no others; ``None`` if there is no decision at all.
        """
        query = f"""
            WITH newest AS (
                SELECT d.decided_at FROM decisions AS d WHERE {_ASKED} AND {_MADE_HERE} AND {IS_CLOSED}
                ORDER BY d.decided_at DESC LIMIT :limit
            ), closed AS (
                SELECT min(decided_at) AS start, max(decided_at) AS last, count(*) AS n FROM newest
            ), open AS (
                SELECT min(d.decided_at) AS start, max(d.decided_at) AS last, count(*) AS n
                FROM decisions AS d
                WHERE {_ASKED} AND {_MADE_HERE} AND NOT {IS_CLOSED}
                    AND d.decided_at >= coalesce((SELECT start FROM closed), '-infinity'::timestamptz)
            ), imported AS (
                SELECT min(d.decided_at) AS start, max(d.decided_at) AS last, count(*) AS n
                FROM decisions AS d WHERE {_ASKED} AND NOT {_MADE_HERE}
            )
            SELECT coalesce(closed.start, open.start, imported.start) AS start,
                coalesce(closed.last, open.last, imported.last) + interval '1 microsecond' AS end,
                closed.n, open.n AS open, imported.n AS imported
            FROM closed, open, imported
        """
        values = {"placement": placement, "start": start, "end": end, "limit": limit}
        async with transaction(self._engine) as connection:
            row = (await connection.execute(text(query), values)).one()
        if not row.n + row.open + row.imported:
            return None
        return Span(placement, row.start, row.end, row.n, row.open, row.imported)

    async def pages(self, span: Span, placements: Sequence[str] = ()) -> AsyncIterator[Page]:
        """The span, a page after the other. ``placements``: whose outcomes are wanted as well (all if empty).

        Of open and of imported decisions only outcomes are given, from which a target may learn as policies do.
        """
        start = span.start
        while span.decisions and start < span.end:
            async with transaction(self._engine) as connection:
                values = {"placement": span.placement, "start": start, "end": span.end, "size": PAGE_SIZE}
                until = await connection.scalar(text(_UNTIL), values)
                # More decisions of one instant than a page holds must not stop the walk.
                end = span.end if until is None else max(until, start + timedelta(microseconds=1))
                rows = await connection.execute(text(_DECISIONS), values | {"end": end})
                decided = [decision_of_row(row) for row in rows]
                wanted = [span.placement, *placements] if placements else None
                heard = await connection.execute(
                    text(_OUTCOMES), {"start": start, "end": end, "placements": wanted}
                )
                page = Page(decided, [outcome_of_row(row) for row in heard])
            yield page
            start = end

    async def before(
        self, span: Span, placements: Sequence[str] = (), *, in_order: bool = False
    ) -> AsyncIterator[list[Outcome]]:
        """Read what is to be learned of decisions before the span, in batches; ``in_order``: by time of recording."""
        values = {"start": None, "end": span.start, "placements": list(placements) or None}
        async with transaction(self._engine) as connection:
            query = f"{_OUTCOMES} ORDER BY recorded_ms, bucket, position" if in_order else _OUTCOMES
            stream = await connection.stream(text(query), values, execution_options={"yield_per": BATCH_SIZE})
            async for rows in stream.partitions(BATCH_SIZE):
                yield [outcome_of_row(row) for row in rows]


_ASKED = """
d.placement = :placement AND d.decided_at >= coalesce(:start, '-infinity'::timestamptz)
    AND d.decided_at < coalesce(:end, 'infinity'::timestamptz)
"""
_MADE_HERE = f"d.policy <> '{HISTORY}'"
_UNTIL = """
SELECT decided_at FROM decisions WHERE placement = :placement AND decided_at >= :start AND decided_at < :end
ORDER BY decided_at OFFSET :size LIMIT 1
"""
_DECISIONS = f"""
SELECT d.bucket, d.position, d.header::text AS header, d.candidates, d.priors, d.factors FROM decisions AS d
WHERE {_ASKED} AND {_MADE_HERE} AND {IS_CLOSED} ORDER BY d.decided_at, d.decision_id
"""
_OUTCOMES = f"""
SELECT * FROM outcomes
WHERE decided_at >= coalesce(:start, '-infinity'::timestamptz) AND decided_at < :end
    AND ({RESULT_KNOWN} OR silence_ms IS NOT NULL OR earned IS NOT NULL OR outcome = 'withdrawn')
    AND (cast(:placements AS text[]) IS NULL OR placement = ANY(:placements))
"""
