"""Whole files into Postgres: ``COPY`` into a temporary table, then one statement that merges it."""

import asyncio
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.importing.run import ImportReport, ImportRun
from profiles.store_cache import ProfileCache
from profiles.store_staging import Staged, customer_rows, propensity_rows, stage
from storage.errors import Unavailable
from storage.postgres import postgres_errors

Progress = Callable[[int, int], None]
"""Told the number of rows that are done with, and the number of all rows."""

STATEMENT_TIMEOUT = "60s"
_TABLE = "nextbest_staged"


@dataclass(frozen=True, slots=True)
class _Kind:
    """The storage of one kind of file. Merging in the order of ids keeps concurrent imports from deadlocks."""

    chunk_rows: int
    rows: Callable[[pa.RecordBatch], pa.Table]
    create: str
    merge: str


_KINDS = {
    "customers": _Kind(
        chunk_rows=20_000,
        rows=customer_rows,
        create=f"""
            CREATE TEMPORARY TABLE {_TABLE} (
                customer_id text, attributes jsonb, indicators jsonb, holdings text[], interests jsonb,
                consents jsonb
            ) ON COMMIT DROP""",
        merge=f"""
            INSERT INTO customers AS c
                (customer_id, attributes, indicators, holdings, interests, consents, updated_at)
            SELECT customer_id, attributes, indicators, holdings, interests, consents, now()
            FROM {_TABLE} ORDER BY customer_id COLLATE "C"
            ON CONFLICT (customer_id) DO UPDATE SET
                attributes = excluded.attributes, indicators = excluded.indicators,
                holdings = excluded.holdings, interests = excluded.interests, consents = excluded.consents,
                updated_at = excluded.updated_at""",
    ),
    "propensities": _Kind(
        chunk_rows=500_000,
        rows=propensity_rows,
        create=f"CREATE TEMPORARY TABLE {_TABLE} (customer_id text, scores jsonb) ON COMMIT DROP",
        merge=f"""
            INSERT INTO propensities AS p (customer_id, scores, updated_at)
            SELECT customer_id, scores, now() FROM {_TABLE} ORDER BY customer_id COLLATE "C"
            ON CONFLICT (customer_id) DO UPDATE SET
                scores = p.scores || excluded.scores, updated_at = excluded.updated_at""",
    ),
}


class BulkLoader:
    """Loads files of customers, whose records are replaced, and of propensities, which are merged."""

    def __init__(self, engine: AsyncEngine, cache: ProfileCache) -> None:
        self._engine = engine
        self._cache = cache

    async def load(self, run: ImportRun, on_progress: Progress | None = None) -> ImportReport:
        """Load all rows of ``run`` that are not refused; files are parsed in a thread.

        Rows take effect in the order of the file, some thousands of customers in a transaction. Raises
        ``Unavailable``, saying how far it got: then the same file may be imported again, since two loads of a file do
        what one does. Raises ``ImportFileError`` if the file changes meanwhile.
        """
        kind = _KINDS[run.kind]
        chunks = _chunks(run, kind)
        done = 0
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            parts, rows_done = chunk
            for part in parts:
                try:
                    await self._store(kind, part)
                except Unavailable as error:
                    message = f"{error}; {done} of {run.rows_total} rows are done: import the file again"
                    raise type(error)(message) from error
            if on_progress and rows_done > done:
                on_progress(rows_done, run.rows_total)
            done = rows_done
        return run.report()

    async def _store(self, kind: _Kind, part: Staged) -> None:
        async with (
            self._cache.changing(part.customer_ids),
            postgres_errors("load rows into Postgres"),
            self._engine.begin() as connection,
        ):
            await connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
            await connection.execute(text(kind.create))
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.copy_to_table(_TABLE, source=io.BytesIO(part.csv), format="csv")
            await connection.execute(text(kind.merge))


def _chunks(run: ImportRun, kind: _Kind) -> Iterator[tuple[list[Staged], int]]:
    """Parts to be stored, with the number of rows that are done with once they are."""
    waiting: list[pa.RecordBatch] = []
    for batch in run.batches():
        waiting.append(batch)
        if sum(len(some) for some in waiting) >= kind.chunk_rows:
            yield _staged(waiting, kind), run.read
            waiting = []
    yield _staged(waiting, kind), run.read


def _staged(batches: list[pa.RecordBatch], kind: _Kind) -> list[Staged]:
    return list(stage(kind.rows(pa.concat_batches(batches)))) if batches else []
