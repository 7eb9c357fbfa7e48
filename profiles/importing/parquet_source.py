"""Rows of Parquet files. Columns keep the types they were stored with."""

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from profiles.errors import ImportFileError
from profiles.importing.dictionaries import dictionary_paths, write_out, written_sizes
from profiles.importing.parquet_bounds import (
    check_chunks,
    check_counts,
    check_footer,
    check_pages,
    decoded_bound,
)
from profiles.importing.parquet_footer import read_chunks
from profiles.importing.problems import shown
from profiles.importing.source import Block, Data, check_names

BATCH_ROWS = 1 << 17
MIN_BATCH_ROWS = 256
BATCH_BYTES = 32 << 20
"""About so much is decoded at once, without the texts of dictionaries: fewer rows where there are many columns."""
PART_BYTES = 4 << 20
"""Texts of dictionaries are written out in parts of this size."""
MAX_ROW_BYTES = 16 << 20

_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
"""Raised when damaged files are read: names that are not text, sizes beyond all bounds."""
_BYTES_A_CELL = 16


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Raise ``ImportFileError`` for what is raised when a damaged file is read."""
    try:
        yield
    except _DAMAGE as error:
        raise ImportFileError(f"{what}: {shown(error)}") from error


def _check_zones(schema: pa.Schema) -> None:
    """Check that times have zones that are known. Raises ``ImportFileError``."""
    for field in schema:
        if pa.types.is_timestamp(field.type) and field.type.tz is not None:
            try:
                pa.scalar(0, field.type).cast(pa.string())
            except pa.ArrowInvalid as error:
                raise ImportFileError(
                    f"the times in column '{field.name}' are of a zone that is not known: {shown(error)}",
                    field.name,
                ) from error


class ParquetSource:
    """A Parquet file."""

    typed_cells = False

    def __init__(self, data: Data, batch_rows: int = BATCH_ROWS) -> None:
        """Reads the schema, and the bounds of what would be decoded. Raises ``ImportFileError``."""
        self._data = data
        # Texts that a dictionary holds once are not written out for every row before their sizes are known.
        self._dictionaries: list[str] = []
        with _damage("this is not a Parquet file, or it is damaged"):
            with self._open() as file, self._stream() as stream:
                schema = file.schema_arrow
                metadata = file.metadata
                names = [name.strip() for name in schema.names]
                check_names(names)
                check_counts(metadata)
                chunks = read_chunks(stream)
                check_chunks(chunks)
                check_pages(chunks, stream)
            self.schema = pa.schema([(name, field.type) for name, field in zip(names, schema, strict=True)])
            _check_zones(self.schema)
            self._dictionaries = dictionary_paths(metadata, chunks)
            self._room = decoded_bound(metadata, chunks)
        self._batch_rows = min(
            batch_rows, max(MIN_BATCH_ROWS, BATCH_BYTES // (_BYTES_A_CELL * max(len(names), 1)))
        )

    def check(self) -> int:
        """Read everything once; returns the number of rows."""
        rows = decoded = 0
        for block in self.blocks():
            decoded += block.batch.nbytes
            if decoded > self._room:
                raise ImportFileError(
                    f"the first {rows + len(block.rows)} rows have {decoded >> 20} MiB once they are decoded, far more"
                    " than a file of this size can be about: write it with less repetition, or in parts"
                )
            try:
                block.batch.validate(full=True)
            except pa.ArrowInvalid as error:
                raise ImportFileError(
                    f"something in rows {rows + 1} to {rows + len(block.rows)} is damaged, or not UTF-8: "
                    f"write the file anew ({shown(error)})"
                ) from error
            rows += len(block.rows)
        return rows

    def lines(self, rows: Collection[int]) -> dict[int, int]:
        """Return nothing: these files have no lines."""
        return {}

    def blocks(self) -> Iterator[Block]:
        """Read all rows, in order."""
        next_row = 1
        with self._open() as file:
            try:
                for batch in self._batches(file):
                    for part in self._parts(batch, next_row):
                        rows = np.arange(next_row, next_row + part.num_rows, dtype=np.int64)
                        next_row += part.num_rows
                        yield Block(part, rows)
            except _DAMAGE as error:
                raise ImportFileError(
                    f"the file is damaged after row {next_row - 1}: {shown(error)}"
                ) from error

    def _batches(self, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
        """Read all batches, in order."""
        if not self._dictionaries or not any(pa.types.is_nested(type_) for type_ in self.schema.types):
            yield from file.iter_batches(batch_size=self._batch_rows)
            return
        # pyarrow does not join dictionaries of lists over row groups.
        for group in range(file.num_row_groups):
            yield from file.iter_batches(batch_size=self._batch_rows, row_groups=[group])

    def _parts(self, batch: pa.RecordBatch, first_row: int) -> Iterator[pa.RecordBatch]:
        """Write dictionaries out, in parts of ``PART_BYTES`` at most (or of one row)."""
        sizes = sum((written_sizes(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))
        if len(sizes) and sizes.max() > MAX_ROW_BYTES:
            row = first_row + int(sizes.argmax())
            raise ImportFileError(
                f"row {row} would have {int(sizes.max()) >> 20} MiB; at most {MAX_ROW_BYTES >> 20} are taken"
            )
        ends = np.cumsum(sizes)
        start = 0
        while start < batch.num_rows:
            before = ends[start - 1] if start else 0
            end = max(int(np.searchsorted(ends, before + PART_BYTES, side="right")), start + 1)
            part = batch.slice(start, end - start)
            written = [write_out(column, field.type) for column, field in zip(part, self.schema, strict=True)]
            yield pa.RecordBatch.from_arrays(written, schema=self.schema)
            start = end

    def _open(self) -> pq.ParquetFile:
        with self._stream() as stream:
            check_footer(stream)
        with _damage("this is not a Parquet file, or it is damaged"):
            return pq.ParquetFile(
                pa.BufferReader(self._data) if isinstance(self._data, bytes) else str(self._data),
                # In nanoseconds, dates of such columns would wrap around after 2262.
                coerce_int96_timestamp_unit="us",
                read_dictionary=self._dictionaries,
            )

    def _stream(self) -> BinaryIO:
        return io.BytesIO(self._data) if isinstance(self._data, bytes) else self._data.open("rb")
