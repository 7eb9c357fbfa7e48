"""Whole files into Postgres: ``COPY`` into a temporary table, then one statement that merges it."""

import asyncio
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.importing import json_text
from profiles.importing.consent_columns import combine_consents
from profiles.importing.run import ImportReport, ImportRun
from profiles.limits import is_visitor
from profiles.privacy.store_consents import STAGED_COLUMNS, name_author, state_staged_consents
from profiles.privacy.store_erasures import LOCK_STORING, staged_ids_that_were_erased
from profiles.store import LOCK_ALIASES, became
from profiles.store_cache import ProfileCache
from profiles.store_suppressions import move_suppressions
from storage.errors import Unavailable
from storage.postgres import postgres_errors

Progress = Callable[[int, int], None]
"""Told the number of rows that are done with, and the number of all rows."""

STATEMENT_TIMEOUT = "60s"
_TABLE = "nextbest_staged"
MAX_CUSTOMERS = 20_000
"""Customers changed in one transaction, which should be over well before the first tombstones expire."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows for one transaction: the customers whom it changes, and the CSV."""

    customer_ids: Sequence[str]
    csv: bytes


def stage(table: pa.Table) -> Iterator[Staged]:
    """Write ``table`` in parts of at most ``MAX_CUSTOMERS`` rows."""
    options = pa_csv.WriteOptions(include_header=False, quoting_style="all_valid")
    for at in range(0, table.num_rows, MAX_CUSTOMERS):
        part = table.slice(at, MAX_CUSTOMERS)
        out = io.BytesIO()
        pa_csv.write_csv(part, out, options)
        named = "customer_id" in part.column_names
        yield Staged(part["customer_id"].unique().to_pylist() if named else (), out.getvalue())


def customer_rows(clean: pa.RecordBatch) -> pa.Table:
    """Make the rows of customers: the last row of each, with ``holdings`` as an array literal.

    What earlier rows said about consents, and later ones did not, stands.
    """
    codes = clean["customer_id"].dictionary_encode()
    if len(codes.dictionary) < clean.num_rows:
        clean = combine_consents(clean, codes.indices.to_numpy())
        last = np.zeros(len(codes.dictionary), np.int64)
        np.maximum.at(last, codes.indices.to_numpy(), np.arange(clean.num_rows))
        clean = clean.take(pa.array(np.sort(last)))
    at = clean.schema.get_field_index("holdings")
    return pa.Table.from_batches([clean.set_column(at, "holdings", _array_literals(clean["holdings"]))])


def propensity_rows(clean: pa.RecordBatch) -> pa.Table:
    """Make one row for each customer, with the JSON object of scores."""
    customers = clean["customer_id"].dictionary_encode()
    codes = customers.indices.to_numpy()
    # Stable, for of repeats ``jsonb`` keeps the last.
    order = np.argsort(codes, kind="stable")
    members = pc.binary_join_element_wise(
        _keys(clean["offer_id"]), clean["propensity"].cast(pa.string()), ""
    ).take(pa.array(order))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes))]).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), members), ",")
    scores = pc.binary_join_element_wise("{", joined, "}", "")
    return pa.table({"customer_id": customers.dictionary, "scores": scores})


def suppression_rows(clean: pa.RecordBatch) -> pa.Table:
    """Make one row for each list and customer: the last."""
    columns = [clean["list_id"].dictionary_encode(), clean["customer_id"].dictionary_encode()]
    lists, customers = (column.indices.to_numpy().astype(np.int64) for column in columns)
    key = lists * len(columns[1].dictionary) + customers
    # Of the rows in reverse order the first of each key is the last.
    _, at = np.unique(key[::-1], return_index=True)
    return pa.Table.from_batches([clean.take(pa.array(np.sort(len(key) - 1 - at)))])


def register_rows(clean: pa.RecordBatch) -> pa.Table:
    """Make the rows of entries in registers; of repeats any one."""
    return pa.Table.from_batches([clean])


def _keys(offer_id: pa.StringArray) -> pa.StringArray:
    offers = offer_id.dictionary_encode()
    return pc.binary_join_element_wise(json_text.strings(offers.dictionary), ":", "").take(offers.indices)


def _array_literals(lists: pa.ListArray) -> pa.StringArray:
    """Write lists of text as Postgres writes arrays: ``{"a","b"}``."""
    items = lists.flatten()
    for special in ("\\", '"'):
        items = pc.replace_substring(items, special, f"\\{special}")
    quoted = pc.binary_join_element_wise('"', items, '"', "")
    lengths = pc.list_value_length(lists).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), quoted), ",")
    return pc.binary_join_element_wise("{", joined, "}", "")


@dataclass(frozen=True, slots=True)
class _Kind:
    """The storage of one kind of file. ``of_persons``: nothing is stored of customers who were erased on request.

    ``of_visitors``: rows of visitors who were merged are about the customers, of whom no less is kept than before.
    ``merge``: ``None`` for statements of consents, which change what there is by their times.
    """

    chunk_rows: int
    rows: Callable[[pa.RecordBatch], pa.Table]
    create: str
    merge: str | None
    of_persons: bool = True
    of_visitors: bool = False


# Merging in the order of ids keeps concurrent imports from deadlocks.
_KINDS = {
    "customers": _Kind(
        chunk_rows=20_000,
        rows=customer_rows,
        create=f"""
            CREATE TEMPORARY TABLE {_TABLE} (
                customer_id text PRIMARY KEY, attributes jsonb, indicators jsonb, holdings text[], interests jsonb,
                consents jsonb, consent_changes jsonb, household_id text
            ) ON COMMIT DROP""",
        merge=f"""
            INSERT INTO customers AS c
                (customer_id, attributes, indicators, holdings, interests, consents, household_id, updated_at)
            SELECT customer_id, attributes, indicators, holdings, interests, consents, nullif(household_id, ''), now()
            FROM {_TABLE} ORDER BY customer_id COLLATE "C"
            ON CONFLICT (customer_id) DO UPDATE SET
                attributes = excluded.attributes, indicators = excluded.indicators,
                holdings = excluded.holdings, interests = excluded.interests,
                consents = (SELECT CASE WHEN s.consent_changes = '{{}}' THEN c.consents
                                        ELSE consents_after(consents_at(c.consents, c.consent_ends, now()),
                                                            s.consent_changes) END
                            FROM {_TABLE} AS s WHERE s.customer_id = excluded.customer_id),
                household_id = (SELECT CASE WHEN s.household_id IS NULL THEN c.household_id
                                            ELSE excluded.household_id END
                                FROM {_TABLE} AS s WHERE s.customer_id = excluded.customer_id),
                updated_at = excluded.updated_at""",
    ),
    "consents": _Kind(
        chunk_rows=20_000,
        rows=lambda clean: pa.Table.from_batches([clean]),
        create=f"CREATE TEMPORARY TABLE {_TABLE} ({STAGED_COLUMNS}) ON COMMIT DROP",
        merge=None,
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
    "suppressions": _Kind(
        chunk_rows=20_000,
        rows=suppression_rows,
        create=f"""
            CREATE TEMPORARY TABLE {_TABLE} (
                customer_id text, list_id text, reason text, until timestamptz, scope jsonb, reason_id text
            ) ON COMMIT DROP""",
        merge=f"""
            INSERT INTO suppressions AS s (list_id, customer_id, reason, until, scope, reason_id)
            SELECT list_id, customer_id, reason, until, scope, reason_id FROM {_TABLE}
            ORDER BY list_id COLLATE "C", customer_id COLLATE "C"
            ON CONFLICT (list_id, customer_id) DO UPDATE SET reason = excluded.reason, until = excluded.until,
                scope = excluded.scope, reason_id = excluded.reason_id""",
        of_persons=False,
        of_visitors=True,
    ),
    "registers": _Kind(
        chunk_rows=20_000,
        rows=register_rows,
        create=f"CREATE TEMPORARY TABLE {_TABLE} (register_id text, digest text, until timestamptz) ON COMMIT DROP",
        merge=f"""
            INSERT INTO register_entries AS e (register_id, digest, until)
            SELECT DISTINCT ON (register_id, decode(digest, 'hex')) register_id, decode(digest, 'hex'), until
            FROM {_TABLE} ORDER BY register_id, decode(digest, 'hex'), until DESC NULLS FIRST
            ON CONFLICT (register_id, digest) DO UPDATE SET until = excluded.until""",
        of_persons=False,
    ),
}


@dataclass
class BulkLoader:
    """Loads files of customers (records are replaced, except for consents), and others, which are merged."""

    engine: AsyncEngine
    cache: ProfileCache

    async def load(
        self, run: ImportRun, on_progress: Progress | None = None, author: str = ""
    ) -> ImportReport:
        """Load all rows of ``run`` that are not refused; files are parsed in a thread. ``author``: for the history.

        Rows take effect in the order of the file, some thousands of customers in a transaction. Raises ``Unavailable``,
        saying how far it got: the same file may be imported again. Raises ``ImportFileError`` if it changes meanwhile.
        """
        kind = _KINDS[run.kind]
        chunks = _chunks(run, kind)
        done = 0
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            parts, rows_done = chunk
            for part in parts:
                try:
                    await self._store(kind, part, author)
                except Unavailable as error:
                    message = f"{error}; {done} of {run.rows_total} rows are done: import the file again"
                    raise type(error)(message) from error
            if on_progress and rows_done > done:
                on_progress(rows_done, run.rows_total)
            done = rows_done
        return await asyncio.to_thread(run.report)

    async def _store(self, kind: _Kind, part: Staged, author: str) -> None:
        async with (
            AsyncExitStack() as guarded,
            postgres_errors("load rows into Postgres"),
            self.engine.begin() as connection,
        ):
            await connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
            await connection.execute(text(kind.create))
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.copy_to_table(_TABLE, source=io.BytesIO(part.csv), format="csv")
            merged: Mapping[str, str] = {}
            if kind.of_visitors and (visitors := [one for one in part.customer_ids if is_visitor(one)]):
                await connection.execute(LOCK_ALIASES)
                merged = await became(connection, visitors)
            await guarded.enter_async_context(self.cache.changing({*part.customer_ids, *merged.values()}))
            if kind.of_persons:
                await connection.execute(LOCK_STORING)
                await connection.execute(text(staged_ids_that_were_erased(_TABLE)))
            if kind.merge is None:
                await state_staged_consents(connection, _TABLE, part.customer_ids, author)
            else:
                await name_author(connection, author)
                await connection.execute(text(kind.merge))
                # They may be on the lists themselves: as much is kept from them as when they were merged.
                await move_suppressions(connection, merged)


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
