"""Reports as files: CSV and Parquet."""

import asyncio
import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import Response
from pydantic import BaseModel

from app.api.reports.answers import in_turns
from storage.clock import to_iso, to_ms

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
    datetime: pa.timestamp("ms", tz="UTC"),
}

Column = tuple[str, type, list[Any]]
"""Name, type and values."""
Format = Literal["json", "csv", "parquet"]


async def file_answer(make: Callable[[], Iterable[Column]], file_format: Format, name: str) -> Response:
    """Answer with a file, ``name`` without its ending, of the columns that ``make`` makes; in a thread."""
    write, media_type = (write_csv, CSV) if file_format == "csv" else (write_parquet, PARQUET)
    content = await asyncio.to_thread(lambda: write(make()))
    headers = {"Content-Disposition": f'attachment; filename="{name}.{file_format}"'}
    return Response(content, media_type=media_type, headers=headers)


def row_columns(
    rows: Sequence[Mapping[str, Any]], model: type[BaseModel], left_out: Collection[str]
) -> Iterator[Column]:
    """Yield the fields of rows that a model documents as columns, in its order, but for those that are ``left_out``."""
    for name, field in model.model_fields.items():
        if name not in left_out:
            types = [part for part in get_args(field.annotation) or (field.annotation,) if part in _TYPES]
            yield name, types[0], [row[name] for row in rows]


def write_csv(columns: Iterable[Column]) -> bytes:
    """Write columns as CSV (UTF-8) with their names in the first row; what is not known is empty."""
    columns = list(columns)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([name for name, _, _ in columns])
    for some in in_turns(zip(*(values for _, _, values in columns), strict=True)):
        writer.writerows([_cell(value) for value in row] for row in some)
    return file.getvalue().encode()


def _cell(value: Any) -> Any:
    return to_iso(to_ms(value)) if isinstance(value, datetime) else value


def write_parquet(columns: Iterable[Column]) -> bytes:
    """Write columns as a Parquet file; what is not known is null."""
    columns = list(columns)
    schema = pa.schema([(name, _TYPES[type_]) for name, type_, _ in columns])
    table = pa.table([pa.array(values, _TYPES[type_]) for _, type_, values in columns], schema=schema)
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()
