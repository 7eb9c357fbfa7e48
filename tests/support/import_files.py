"""Files to import, made in memory, and the rows that are read of them."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from profiles.importing.run import ImportRun

OFFERS = ["o1", "o2"]


def parquet(columns: dict[str, Any]) -> bytes:
    """A Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def rows_of(run: ImportRun) -> list[dict[str, Any]]:
    """All rows that a run yields."""
    return [row for batch in run.batches() for row in batch.to_pylist()]
