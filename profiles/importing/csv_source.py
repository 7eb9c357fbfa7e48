"""Rows of CSV files. Every cell is text here; what it means is decided by who reads it."""

import codecs
import io
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from profiles.errors import ImportFileError
from profiles.importing.csv_lines import lines_of_rows
from profiles.importing.parquet_bounds import check_columns
from profiles.importing.problems import MAX_REFUSALS, Refusal, shown
from profiles.importing.source import Block, Data, check_names, in_header

BLOCK_BYTES = 2 << 20
"""Parsed at once; no row can be longer."""

_FOREIGN = {
    b"PAR1": "it is a Parquet file: name it .parquet, or send it as application/vnd.apache.parquet",
    b"PK\x03\x04": "it is a spreadsheet or a zip archive: export or unpack it to CSV",
    b"\x1f\x8b": "it is compressed: unpack it first",
    codecs.BOM_UTF16_LE: "its text is UTF-16: save it as UTF-8",
    codecs.BOM_UTF16_BE: "its text is UTF-16: save it as UTF-8",
}
_NO_HEADER = "the file is empty: it needs a header with the names of the columns, and rows"
_OPEN_QUOTE = "a quote is opened and never closed: close it, or write a quote inside of a quoted cell twice"


class CsvSource:
    """A CSV file: comma separated, UTF-8, with a header."""

    typed_cells = True

    def __init__(self, data: Data, block_bytes: int = BLOCK_BYTES) -> None:
        """Reads all bytes once, and parses the header. Raises ``ImportFileError``."""
        self._data = data
        self._block_bytes = block_bytes
        self._check_header_width()
        self._quotes = self._check_bytes()
        self._written_names = self._header()
        names = [name.strip() for name in self._written_names]
        with in_header(self):
            check_names(names)
        if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
            raise ImportFileError("the columns are not separated by commas: save the file as comma-separated")
        self.schema = pa.schema([(name, pa.string()) for name in names])

    def check(self) -> int:
        """Parse everything once; returns the number of data rows, misshapen ones included."""
        skipped = _Skipped()
        rows, last_kept, last_cell = 0, 0, ""
        for block in self._blocks(skipped):
            rows += len(block.rows) + block.misshapen
            if len(block.rows):
                last_kept = int(block.rows[-1])
                last_cell = block.batch.column(block.batch.num_columns - 1)[-1].as_py()
        end = last_cell if last_kept == rows else skipped.last_text
        if self._quotes % 2 and "\n" in end:
            raise ImportFileError(f"row {rows}: {_OPEN_QUOTE}")
        return rows

    def blocks(self) -> Iterator[Block]:
        """Read all rows, in order. The last block may hold nothing but misshapen rows."""
        return self._blocks(_Skipped())

    def lines(self, rows: Collection[int]) -> dict[int, int]:
        """Find the lines, from 1, at which rows begin; row 0 is the header. Reads the file up to the last of them."""
        with self._stream() as stream:
            return lines_of_rows(stream, rows, self._block_bytes)

    def _blocks(self, skipped: "_Skipped") -> Iterator[Block]:
        next_row = 1
        try:
            for batch in self._open(self._written_names, skipped.add):
                rows = skipped.number(next_row, batch.num_rows)
                next_row = int(rows[-1]) + 1 if len(rows) else next_row
                batch = pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)
                yield Block(batch, rows, *skipped.take(next_row))
        except pa.ArrowInvalid as error:
            raise _unreadable(error, self._block_bytes) from error
        left, refusals = skipped.take(None)
        if left:
            yield Block(pa.RecordBatch.from_pylist([], self.schema), np.empty(0, np.int64), left, refusals)

    def _check_header_width(self) -> None:
        """Bound the number of columns before the parser makes one of each."""
        with self._stream() as stream:
            head = stream.read(self._block_bytes)
        end = -1
        # A name in quotes may go over lines.
        while (end := head.find(b"\n", end + 1)) >= 0 and head.count(b'"', 0, end) % 2:
            pass
        check_columns(1 + head.count(b",", 0, end if end >= 0 else len(head)))

    def _check_bytes(self) -> int:
        """Look at the bytes alone: foreign formats, text that is not UTF-8. Returns the number of quotes."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        quotes = size = 0
        with self._stream() as stream:
            while chunk := stream.read(self._block_bytes):
                if size == 0:
                    _check_foreign(chunk)
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError as error:
                    at = size - (len(error.object) - len(chunk)) + error.start
                    raise self._not_utf8(at, error.object[error.start]) from error
                quotes += chunk.count(b'"')
                size += len(chunk)
        if size == 0:
            raise ImportFileError(_NO_HEADER)
        if decoder.getstate()[0]:
            raise ImportFileError("the last character is cut off in the middle: the file is not complete")
        return quotes

    def _not_utf8(self, at: int, byte: int) -> ImportFileError:
        line = 1
        with self._stream() as stream:
            while at > 0 and (chunk := stream.read(min(at, self._block_bytes))):
                line += chunk.count(b"\n")
                at -= len(chunk)
        return ImportFileError(f"line {line} has the byte 0x{byte:02x}, not UTF-8: save the file as UTF-8")

    def _stream(self) -> BinaryIO:
        return io.BytesIO(self._data) if isinstance(self._data, bytes) else self._data.open("rb")

    def _header(self) -> list[str]:
        try:
            with self._open([], lambda row: "skip") as reader:
                return list(reader.schema.names)
        except pa.ArrowInvalid as error:
            raise _unreadable(error, self._block_bytes) from error

    def _open(self, names: list[str], on_misshapen: Callable[[Any], str]) -> Any:
        memory = isinstance(self._data, bytes)
        return pa_csv.open_csv(
            pa.BufferReader(self._data) if memory else pa.OSFile(str(self._data)),
            read_options=pa_csv.ReadOptions(
                use_threads=False,  # as fast for text, and the numbers of misshapen rows are known
                block_size=self._block_bytes,
            ),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=on_misshapen),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                check_utf8=False,  # checked already, and with a better message
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )


class _Skipped:
    """Misshapen rows."""

    # The parser reports them ahead of the batches from which they are missing.
    def __init__(self) -> None:
        self.last_text = ""
        self._rows = array("q")
        self._refusals: list[Refusal] = []
        self._room = MAX_REFUSALS

    def add(self, row: Any) -> str:
        """Note a row. Returns what the parser is to do with it."""
        self.last_text = row.text
        number = row.number - 1  # the header is the parser's first row
        self._rows.append(number)
        if self._room:
            self._room -= 1
            reason = f"has {row.actual_columns} fields instead of {row.expected_columns}"
            self._refusals.append(Refusal(number, None, reason, shown(row.text)))
        return "skip"

    def number(self, next_row: int, count: int) -> NDArray[np.int64]:
        """Find the row numbers of a batch of ``count`` rows, the first of which is at ``next_row`` or later."""
        kept_before = np.array(self._rows, np.int64) - next_row - np.arange(len(self._rows))
        at = np.arange(count, dtype=np.int64)
        return next_row + at + np.searchsorted(kept_before, at, side="right")

    def take(self, before: int | None) -> tuple[int, tuple[Refusal, ...]]:
        """Remove the rows below ``before`` (``None``: all); returns how many, and describes some."""
        count = len(self._rows) if before is None else bisect_left(self._rows, before)
        del self._rows[:count]
        described = tuple(r for r in self._refusals if before is None or r.row < before)
        del self._refusals[: len(described)]
        return count, described


def _check_foreign(chunk: bytes) -> None:
    for magic, advice in _FOREIGN.items():
        if chunk.startswith(magic):
            raise ImportFileError(f"this is not CSV, {advice}")


def _unreadable(error: pa.ArrowInvalid, block_bytes: int) -> ImportFileError:
    text = str(error)
    if "straddl" in text:
        return ImportFileError(f"a row is longer than {block_bytes >> 20} MiB: {_OPEN_QUOTE}")
    if "Empty CSV" in text or "no columns" in text.lower():
        return ImportFileError(_NO_HEADER)
    return ImportFileError(f"the file cannot be read as CSV: {shown(text)}")
