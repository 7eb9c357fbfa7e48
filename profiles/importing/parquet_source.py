"""Rows of Parquet files. Columns keep the types they were stored with."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from profiles.errors import ImportFileError
from profiles.importing.problems import shown
from profiles.importing.source import Block, Data, check_names

BATCH_ROWS = 1 << 17

_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
"""Raised when damaged files are read: names that are not text, sizes beyond all bounds."""


class ParquetSource:
    """A Parquet file."""

    typed_cells = False

    def __init__(self, data: Data, batch_rows: int = BATCH_ROWS) -> None:
        """Reads the schema. Raises ``ImportFileError``."""
        self._data = data
        self._batch_rows = batch_rows
        with self._open() as file:
            schema = file.schema_arrow
        names = [name.strip() for name in schema.names]
        check_names(names)
        self.schema = pa.schema([(name, field.type) for name, field in zip(names, schema, strict=True)])

    def check(self) -> int:
        """Read everything once; returns the number of rows."""
        rows = 0
        for block in self.blocks():
            try:
                block.batch.validate(full=True)
            except pa.ArrowInvalid as error:
                raise ImportFileError(
                    f"something in rows {rows + 1} to {rows + len(block.rows)} is damaged, or not UTF-8: "
                    f"write the file anew ({shown(error)})"
                ) from error
            rows += len(block.rows)
        return rows

    def blocks(self) -> Iterator[Block]:
        """Read all rows, in order."""
        next_row = 1
        with self._open() as file:
            try:
                for batch in file.iter_batches(batch_size=self._batch_rows):
                    rows = np.arange(next_row, next_row + batch.num_rows, dtype=np.int64)
                    next_row += batch.num_rows
                    yield Block(pa.RecordBatch.from_arrays(batch.columns, schema=self.schema), rows)
            except _DAMAGE as error:
                raise ImportFileError(
                    f"the file is damaged after row {next_row - 1}: {shown(error)}"
                ) from error

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(
                pa.BufferReader(self._data) if isinstance(self._data, bytes) else str(self._data),
                # In nanoseconds, dates of such columns would wrap around after 2262.
                coerce_int96_timestamp_unit="us",
            )
        except _DAMAGE as error:
            raise ImportFileError(f"this is not a Parquet file, or it is damaged: {shown(error)}") from error
