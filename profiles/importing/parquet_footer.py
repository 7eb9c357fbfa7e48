"""The description of row groups and columns at the end of a Parquet file, and headers of pages, read here.

pyarrow ends the whole process where numbers of a damaged column do not go together ("histogram size mismatch"), so it
is not asked about columns. Both are structures of Thrift's compact protocol
(https://github.com/apache/parquet-format, ``parquet.thrift``).
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

TAIL_BYTES = 8
UNCOMPRESSED_SIZE, COMPRESSED_SIZE = 2, 3
DELTA_BYTE_ARRAY = 7

# Types of Thrift's compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    12,
)
_NUMBERS = (_I16, _I32, _I64)
_MAX_DEPTH = 8

Value = Callable[["CompactReader", int, int], Any]
"""Reads a value of a type, at a depth. Raises ``ValueError`` if it is of another type than is declared for it."""


class CompactReader:
    """Reads structures from bytes; ``at`` is where it has come to."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def read(self, wanted: Mapping[int, Value], depth: int = 0) -> dict[int, Any]:
        """Return the ``wanted`` fields of a structure that are there, by their numbers.

        Raises ``IndexError`` where the data end, ``ValueError`` for what cannot be so, and for a field that is there
        twice: other readers might take the other one.
        """
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deep")
        found: dict[int, Any] = {}
        number = 0
        while tag := self._byte():
            kind = tag & 15
            number = number + (tag >> 4) if tag >> 4 else _zigzag(self.varint())
            if number not in wanted:
                if kind not in (_TRUE, _FALSE):
                    self._skip(kind, depth)
            elif number in found:
                raise ValueError(f"field {number} is there twice")
            else:
                found[number] = wanted[number](self, kind, depth)
        return found

    def items(self) -> tuple[int, int]:
        """Read the head of a list: the type of its items, and their number."""
        head = self._byte()
        count = self.varint() if head >> 4 == 15 else head >> 4
        if count > len(self._data):
            raise ValueError("a list is longer than the file")
        return head & 15, count

    def take(self, length: int) -> bytes:
        """Read so many bytes."""
        taken = self._data[self.at : self.at + length]
        if len(taken) < length:
            raise IndexError("the data end")
        self.at += length
        return taken

    def varint(self) -> int:
        """Read a whole number without a sign."""
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number is too long")

    def _skip(self, kind: int, depth: int) -> None:
        """Pass over a value that is not needed."""
        if kind in _NUMBERS:
            self.varint()
        elif kind in (_TRUE, _FALSE, _BYTE):  # in lists, truth values have a byte
            self.at += 1
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            length = self.varint()
            self.at += length
        elif kind == _STRUCT:
            self.read({}, depth + 1)
        elif kind in (_LIST, _SET):
            if depth > _MAX_DEPTH:
                raise ValueError("nested too deep")
            kind, count = self.items()
            for _ in range(count):
                self._skip(kind, depth + 1)
        else:
            raise ValueError(f"no value has the kind {kind}")

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte


def _integer(expected: int) -> Value:
    def read(reader: CompactReader, kind: int, depth: int) -> int:
        _check_kind(kind, expected)
        return _zigzag(reader.varint())

    return read


def _text(reader: CompactReader, kind: int, depth: int) -> str:
    _check_kind(kind, _BINARY)
    return reader.take(reader.varint()).decode()


def _struct(wanted: Mapping[int, Value]) -> Value:
    def read(reader: CompactReader, kind: int, depth: int) -> dict[int, Any]:
        _check_kind(kind, _STRUCT)
        return reader.read(wanted, depth + 1)

    return read


def _list(item: Value) -> Value:
    def read(reader: CompactReader, kind: int, depth: int) -> list[Any]:
        _check_kind(kind, _LIST)
        kind, count = reader.items()
        return [item(reader, kind, depth + 1) for _ in range(count)]

    return read


def _check_kind(kind: int, expected: int) -> None:
    if kind != expected:
        raise ValueError(f"a value has the kind {kind}, not {expected}")


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


PAGE: Mapping[int, Value] = {UNCOMPRESSED_SIZE: _integer(_I32), COMPRESSED_SIZE: _integer(_I32)}
_CHUNK: Mapping[int, Value] = {
    2: _list(_integer(_I32)),
    3: _list(_text),
    5: _integer(_I64),
    7: _integer(_I64),
    9: _integer(_I64),
    11: _integer(_I64),
}
_GROUP: Mapping[int, Value] = {1: _list(_struct({3: _struct(_CHUNK)})), 3: _integer(_I64)}
_FILE: Mapping[int, Value] = {4: _list(_struct(_GROUP))}


@dataclass(frozen=True, slots=True)
class Chunk:
    """The part of a column in one row group: what it says of itself.

    ``column``: its number. ``rows``: of the row group. ``values``: with all items of lists. ``stored_bytes``:
    compressed. ``dictionary_at`` and ``data_at``: where its pages begin in the file.
    """

    column: int
    path: str
    rows: int
    values: int
    encodings: tuple[int, ...]
    stored_bytes: int
    dictionary_at: int | None
    data_at: int

    @property
    def name(self) -> str:
        """The column's name, for people."""
        return self.path.partition(".")[0]


def read_chunks(stream: BinaryIO) -> list[Chunk]:
    """Read what the end of a file says of its columns, by row group.

    Raises ``ValueError`` if it is damaged; the file is one by its first and last bytes, and the size has been checked.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(size - TAIL_BYTES)
    length = int.from_bytes(stream.read(4), "little")
    if length > size - TAIL_BYTES:
        raise ValueError("the description of columns is longer than the file")
    stream.seek(size - TAIL_BYTES - length)
    try:
        groups = CompactReader(stream.read(length)).read(_FILE)[4]
        return [
            _chunk(number, group[3], column[3]) for group in groups for number, column in enumerate(group[1])
        ]
    except (KeyError, IndexError) as error:
        raise ValueError("the description of columns is not whole") from error


def _chunk(number: int, rows: int, said: Mapping[int, Any]) -> Chunk:
    chunk = Chunk(number, ".".join(said[3]), rows, said[5], tuple(said[2]), said[7], said.get(11), said[9])
    if min(chunk.rows, chunk.values, chunk.stored_bytes, chunk.data_at, chunk.dictionary_at or 0) < 0:
        raise ValueError(f"column '{chunk.name}' has a negative size or place")
    return chunk
