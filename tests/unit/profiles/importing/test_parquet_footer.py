"""What is read of the end of a Parquet file is what pyarrow reads, and damage there is an error like any other."""

import io
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiles.errors import ImportFileError
from profiles.importing.parquet_footer import PAGE, CompactReader, read_chunks
from profiles.importing.run import open_customers


def small_file(**options: object) -> bytes:
    """Two row groups of a text and a list."""
    stream = io.BytesIO()
    table = pa.table({"customer_id": ["a", "b", "c"], "holdings": [["x"], None, ["x", "y"]]})
    pq.write_table(table, stream, row_group_size=2, **options)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}], ids=str)
def test_chunks_are_what_pyarrow_says(options: dict[str, object]) -> None:
    data = small_file(**options)
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    said = [
        (
            number,
            column.path_in_schema,
            metadata.row_group(group).num_rows,
            column.num_values,
            column.total_compressed_size,
            column.dictionary_page_offset,
            column.data_page_offset,
        )
        for group in range(metadata.num_row_groups)
        for number, column in enumerate(metadata.row_group(group).column(n) for n in range(2))
    ]
    chunks = read_chunks(io.BytesIO(data))
    assert said == [
        (c.column, c.path, c.rows, c.values, c.stored_bytes, c.dictionary_at, c.data_at) for c in chunks
    ]
    assert [chunk.name for chunk in chunks[:2]] == ["customer_id", "holdings"]


def test_no_byte_of_the_description_ends_the_process() -> None:
    """Some of them did, by numbers of a column that do not go together, which pyarrow does not survive."""
    data = small_file(compression="none", store_schema=False)
    length = int.from_bytes(data[-8:-4], "little")
    refused = 0
    for at in range(len(data) - 8 - length, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 2
        try:
            for _ in open_customers(bytes(damaged), "parquet").batches():
                pass
        except ImportFileError:
            refused += 1
    assert refused > length / 4


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x25\x02\x05\x04\x04\x00", "there twice"),  # field 2, then field 2 again
        (b"\x26\x02\x00", "kind 6, not 5"),
        (b"\x2d\x00", "kind 13|no value"),
        (b"\x1c" * 20, "too deep"),
        (b"\x15" + b"\xff" * 12, "too long"),
    ],
)
def test_structures_that_cannot_be_so_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CompactReader(data).read(PAGE)


def test_a_file_that_ends_too_soon_is_refused() -> None:
    data = small_file()
    with suppress(ImportFileError):
        open_customers(data[:-40], "parquet")
    with pytest.raises(ValueError, match="longer than the file"):
        read_chunks(io.BytesIO((1 << 20).to_bytes(4, "little") + b"PAR1"))
    with pytest.raises(ValueError, match="not whole"):
        read_chunks(io.BytesIO(b"\x00" + (1).to_bytes(4, "little") + b"PAR1"))
