"""Columns of text that a dictionary holds once: their sizes, before they are written out for every row."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from profiles.importing.parquet_footer import Chunk


def dictionary_paths(metadata: pq.FileMetaData, chunks: Sequence[Chunk]) -> list[str]:
    """List the paths of the columns, those inside of lists too, whose texts any row group holds in a dictionary."""
    held = {chunk.column for chunk in chunks if chunk.dictionary_at is not None}
    columns = (metadata.schema.column(number) for number in sorted(held) if number < metadata.num_columns)
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def written_sizes(column: pa.Array) -> NDArray[np.int64]:
    """Return the bytes that each row of a column will take for texts of dictionaries, shape (n,)."""
    if pa.types.is_dictionary(column.type):
        return _item_sizes(column)
    if not _is_list(column.type) or not pa.types.is_dictionary(column.type.value_type):
        return np.zeros(len(column), np.int64)
    ends = np.concatenate(([0], np.cumsum(_item_sizes(pc.list_flatten(column)))))
    offsets = _offsets(column)
    found: NDArray[np.int64] = ends[offsets[1:]] - ends[offsets[:-1]]
    return found


def write_out(column: pa.Array, type_: pa.DataType) -> pa.Array:
    """Return a column without dictionaries that the file's own schema does not have."""
    if column.type == type_:
        return column
    if not _is_list(column.type):
        return column.cast(type_)
    values = pc.list_flatten(column).cast(type_.value_type)
    large = pa.types.is_large_list(type_)
    offsets = pa.array(_offsets(column), pa.int64() if large else pa.int32())
    made = (pa.LargeListArray if large else pa.ListArray).from_arrays(
        offsets, values, type=type_, mask=column.is_null()
    )
    return made


def _item_sizes(column: pa.DictionaryArray) -> NDArray[np.int64]:
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return np.asarray(pc.fill_null(lengths.take(column.indices), 0), dtype=np.int64)


def _offsets(column: pa.Array) -> NDArray[np.int64]:
    """Return where the items of each row begin in the flattened column, shape (n + 1,)."""
    counts = np.asarray(pc.fill_null(pc.list_value_length(column), 0), dtype=np.int64)
    return np.concatenate(([0], np.cumsum(counts)))


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))
