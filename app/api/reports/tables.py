"""Reports as files: CSV and Parquet."""

import csv
import io
from collections.abc import Iterable
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.api.reports.answers import in_turns

CSV = "text/csv; charset=utf-8"
PARQUET = "application/vnd.apache.parquet"
FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
        }
    }
}
"""The files that a report may be answered as, for the document of the API."""
_TYPES: dict[type, Any] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    date: pa.date32(),
}

Column = tuple[str, type, list[Any]]
"""Name, type and values."""


def write_csv(columns: Iterable[Column]) -> bytes:
    """Write columns as CSV (UTF-8) with their names in the first row; what is not known is empty."""
    columns = list(columns)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([name for name, _, _ in columns])
    for some in in_turns(zip(*(values for _, _, values in columns), strict=True)):
        writer.writerows(some)
    return file.getvalue().encode()


def write_parquet(columns: Iterable[Column]) -> bytes:
    """Write columns as a Parquet file; what is not known is null."""
    columns = list(columns)
    schema = pa.schema([(name, _TYPES[type_]) for name, type_, _ in columns])
    table = pa.table([pa.array(values, _TYPES[type_]) for _, type_, values in columns], schema=schema)
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()
