"""Bounds of Parquet files, checked before anything of them is decoded.

A file of a kilobyte can stand for gigabytes: one value of a dictionary for all rows, runs of equal values, pages that
were compressed a thousand times. What a file says of itself may be wrong, so the headers of its pages, by which memory
is taken, are read as well (https://github.com/apache/parquet-format, ``parquet.thrift``).
"""

import io
from collections.abc import Sequence
from typing import BinaryIO

import pyarrow.parquet as pq

from profiles.errors import ImportFileError
from profiles.importing.parquet_footer import (
    COMPRESSED_SIZE,
    DELTA_BYTE_ARRAY,
    PAGE,
    TAIL_BYTES,
    UNCOMPRESSED_SIZE,
    Chunk,
    CompactReader,
)

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

_REFUSED_ENCODINGS = {DELTA_BYTE_ARRAY: "DELTA_BYTE_ARRAY"}
"""Texts that share beginnings with the one before: each may be as long as a page, and takes a few bytes."""


def check_footer(stream: BinaryIO) -> None:
    """Check the size of the metadata at the end of a file, before it is parsed. Raises ``ImportFileError``."""
    size = stream.seek(0, io.SEEK_END)
    if size < TAIL_BYTES:
        return  # no Parquet file: its reader says so
    stream.seek(size - TAIL_BYTES)
    length = int.from_bytes(stream.read(4), "little")
    if MAX_FOOTER_BYTES < length < size:
        raise ImportFileError(
            f"the description of columns and row groups has {length >> 20} MiB; at most"
            f" {MAX_FOOTER_BYTES >> 20} are taken: write fewer columns, and larger row groups"
        )


def check_counts(metadata: pq.FileMetaData) -> None:
    """Check the numbers of columns and row groups. Raises ``ImportFileError``."""
    check_columns(metadata.num_columns)
    if metadata.num_row_groups > MAX_ROW_GROUPS:
        raise ImportFileError(
            f"there are {metadata.num_row_groups} row groups; at most {MAX_ROW_GROUPS} are taken: write larger ones"
        )


def check_chunks(chunks: Sequence[Chunk]) -> None:
    """Check the numbers of items, and the encodings. Raises ``ImportFileError``."""
    for chunk in chunks:
        if chunk.values > max(chunk.rows, MAX_ITEMS_A_ROW_GROUP):
            raise ImportFileError(
                f"the lists of column '{chunk.name}' have {chunk.values} items in one row group; at most"
                f" {MAX_ITEMS_A_ROW_GROUP} are taken",
                chunk.name,
            )
        for encoding in chunk.encodings:
            if encoding in _REFUSED_ENCODINGS:
                raise ImportFileError(
                    f"column '{chunk.name}' has the encoding {_REFUSED_ENCODINGS[encoding]}, which can hide gigabytes"
                    " in a few bytes: write it plainly, or with a dictionary",
                    chunk.name,
                )


def decoded_bound(metadata: pq.FileMetaData, chunks: Sequence[Chunk]) -> int:
    """Return the bytes that a file may have once it is decoded. Raises ``ImportFileError`` if its numbers have more."""
    bound = DECODED_BYTES + MAX_EXPANSION * sum(chunk.stored_bytes for chunk in chunks)
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


def check_pages(chunks: Sequence[Chunk], stream: BinaryIO) -> None:
    """Check the sizes of all pages once they are decompressed. Raises ``ImportFileError``."""
    for chunk in chunks:
        name = chunk.name
        starts = [at for at in (chunk.dictionary_at, chunk.data_at) if at]
        if not starts:
            continue
        at, end = min(starts), min(starts) + chunk.stored_bytes
        while at < end:
            stream.seek(at)
            header = CompactReader(stream.read(min(MAX_HEADER_BYTES, end - at)))
            try:
                found = header.read(PAGE)
            except (IndexError, ValueError):
                raise ImportFileError(f"column '{name}' is damaged: a page has no header", name) from None
            decoded, stored = found.get(UNCOMPRESSED_SIZE, 0), found.get(COMPRESSED_SIZE, 0)
            if decoded < 0 or stored < 0:
                raise ImportFileError(f"column '{name}' is damaged: a page has a negative size", name)
            if max(decoded, stored) > MAX_PAGE_BYTES:
                raise ImportFileError(
                    f"column '{name}' has a page of {max(decoded, stored) >> 20} MiB; at most"
                    f" {MAX_PAGE_BYTES >> 20} are taken: write smaller pages",
                    name,
                )
            at += header.at + stored
