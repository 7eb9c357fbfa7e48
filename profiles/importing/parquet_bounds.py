"""Bounds of Parquet files, checked before anything of them is decoded.

A file of a kilobyte can stand for gigabytes: one value of a dictionary for all rows, runs of equal values, pages that
were compressed a thousand times. What a file says of itself may be wrong, so the headers of its pages, by which memory
is taken, are read as well (https://github.com/apache/parquet-format, ``parquet.thrift``).
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow.parquet as pq

from profiles.errors import ImportFileError

MAX_COLUMNS = 5000
MAX_ROW_GROUPS = 20_000
MAX_FOOTER_BYTES = 8 << 20
MAX_PAGE_BYTES = 16 << 20
MAX_ITEMS_A_ROW_GROUP = 10_000_000
"""Items of all lists of a column in one row group."""
MAX_HEADER_BYTES = 1 << 16
DECODED_BYTES = 64 << 20
MAX_EXPANSION = 500
"""A file may have 64 MiB once it is decoded, and 500 times what it stores."""

_REFUSED_ENCODINGS = ("DELTA_BYTE_ARRAY",)
"""Texts that share beginnings with the one before: each may be as long as a page, and takes a few bytes."""
_TAIL_BYTES = 8
_UNCOMPRESSED_SIZE, _COMPRESSED_SIZE = 2, 3
# Types of Thrift's compact protocol.
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_NUMBERS = (4, 5, 6)
_MAX_DEPTH = 8


def check_footer(stream: BinaryIO) -> None:
    """Check the size of the metadata at the end of a file, before it is parsed. Raises ``ImportFileError``."""
    size = stream.seek(0, io.SEEK_END)
    if size < _TAIL_BYTES:
        return  # no Parquet file: its reader says so
    stream.seek(size - _TAIL_BYTES)
    length = int.from_bytes(stream.read(4), "little")
    if MAX_FOOTER_BYTES < length < size:
        raise ImportFileError(
            f"the description of columns and row groups has {length >> 20} MiB; at most"
            f" {MAX_FOOTER_BYTES >> 20} are taken: write fewer columns, and larger row groups"
        )


def check_metadata(metadata: pq.FileMetaData) -> None:
    """Check the numbers of columns, row groups and items, and the encodings. Raises ``ImportFileError``."""
    check_columns(metadata.num_columns)
    if metadata.num_row_groups > MAX_ROW_GROUPS:
        raise ImportFileError(
            f"there are {metadata.num_row_groups} row groups; at most {MAX_ROW_GROUPS} are taken: write larger ones"
        )
    for group, column in _chunks(metadata):
        name = column.path_in_schema.partition(".")[0]
        if column.num_values > max(group.num_rows, MAX_ITEMS_A_ROW_GROUP):
            raise ImportFileError(
                f"the lists of column '{name}' have {column.num_values} items in one row group; at most"
                f" {MAX_ITEMS_A_ROW_GROUP} are taken",
                name,
            )
        for encoding in column.encodings:
            if encoding in _REFUSED_ENCODINGS:
                raise ImportFileError(
                    f"column '{name}' has the encoding {encoding}, which can hide gigabytes in a few bytes:"
                    " write it plainly, or with a dictionary",
                    name,
                )


def decoded_bound(metadata: pq.FileMetaData) -> int:
    """Return the bytes that a file may have once it is decoded. Raises ``ImportFileError`` if its numbers have more."""
    stored: int = sum(column.total_compressed_size for _, column in _chunks(metadata))
    bound = DECODED_BYTES + MAX_EXPANSION * max(stored, 0)
    least = metadata.num_rows * metadata.num_columns
    if least > bound:
        raise ImportFileError(
            f"{metadata.num_rows} rows of {metadata.num_columns} columns are far more than a file of this size can be"
            " about: write it with less repetition, or in parts"
        )
    return bound


def check_columns(count: int) -> None:
    """Check the number of columns of a file, of whatever format. Raises ``ImportFileError``."""
    if count > MAX_COLUMNS:
        raise ImportFileError(f"there are {count} columns; at most {MAX_COLUMNS} are taken")


def check_pages(metadata: pq.FileMetaData, stream: BinaryIO) -> None:
    """Check the sizes of all pages once they are decompressed. Raises ``ImportFileError``."""
    for _, column in _chunks(metadata):
        name = column.path_in_schema.partition(".")[0]
        starts = [at for at in (column.dictionary_page_offset, column.data_page_offset) if at]
        if not starts:
            continue
        at, end = min(starts), min(starts) + column.total_compressed_size
        while at < end:
            stream.seek(at)
            header = _Header(stream.read(min(MAX_HEADER_BYTES, end - at)))
            try:
                found = header.read()
            except (IndexError, ValueError):
                raise ImportFileError(f"column '{name}' is damaged: a page has no header", name) from None
            decoded, stored = found.get(_UNCOMPRESSED_SIZE, 0), found.get(_COMPRESSED_SIZE, 0)
            if decoded < 0 or stored < 0:
                raise ImportFileError(f"column '{name}' is damaged: a page has a negative size", name)
            if max(decoded, stored) > MAX_PAGE_BYTES:
                raise ImportFileError(
                    f"column '{name}' has a page of {max(decoded, stored) >> 20} MiB; at most"
                    f" {MAX_PAGE_BYTES >> 20} are taken: write smaller pages",
                    name,
                )
            at += header.at + stored


def _chunks(metadata: pq.FileMetaData) -> Iterator[tuple[pq.RowGroupMetaData, pq.ColumnChunkMetaData]]:
    for group_number in range(metadata.num_row_groups):
        group = metadata.row_group(group_number)
        for number in range(group.num_columns):
            yield group, group.column(number)


class _Header:
    """The header of a page, a structure of Thrift's compact protocol; ``at`` is its length once it has been read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def read(self, depth: int = 0) -> dict[int, int]:
        """Return the numbers of a structure by field.

        Raises ``IndexError`` where the data end, ``ValueError`` for what is no header.
        """
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deep")
        found: dict[int, int] = {}
        number = 0
        while tag := self._byte():
            kind = tag & 15
            number = number + (tag >> 4) if tag >> 4 else _zigzag(self._varint())
            if kind in _NUMBERS:
                found[number] = _zigzag(self._varint())
            elif kind not in (_TRUE, _FALSE):
                self._skip(kind, depth)
        return found

    def _skip(self, kind: int, depth: int) -> None:
        """Pass over a value that is not needed."""
        if kind in _NUMBERS:
            self._varint()
        elif kind in (_TRUE, _FALSE, _BYTE):  # in lists, truth values have a byte
            self.at += 1
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            length = self._varint()
            self.at += length
        elif kind == _STRUCT:
            self.read(depth + 1)
        elif kind in (_LIST, _SET):
            head = self._byte()
            count = self._varint() if head >> 4 == 15 else head >> 4
            for _ in range(min(count, len(self._data))):
                self._skip(head & 15, depth + 1)
        else:
            raise ValueError(f"no value has the kind {kind}")

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
