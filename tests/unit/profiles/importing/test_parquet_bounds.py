"""Files of a few kilobytes that stand for gigabytes are refused before they are decoded; memory stays flat."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiles.errors import ImportFileError
from profiles.importing.csv_source import CsvSource
from profiles.importing.parquet_bounds import check_footer, decoded_bound
from profiles.importing.parquet_footer import PAGE, Chunk, CompactReader
from profiles.importing.parquet_source import ParquetSource
from profiles.importing.run import open_customers

MAX_MIB = 150
"""Above what a small file takes."""


def packed(table: pa.Table, **options: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", **options)
    return stream.getvalue()


def repeated(value: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]))


def dictionary_of_one_text() -> bytes:
    rows = 100_000
    return packed(
        pa.table({"customer_id": repeated("ann", rows), "a": repeated("x" * 4000, rows)}), store_schema=False
    )


def one_large_page() -> bytes:
    return packed(pa.table({"customer_id": ["ann"], "a": ["x" * (60 << 20)]}))


def shared_beginnings() -> bytes:
    texts = ["x" * 100_000] * 1000
    table = pa.table({"customer_id": [str(n) for n in range(1000)], "a": texts})
    return packed(table, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY")


def runs_of_items() -> bytes:
    items = repeated("card", 12_000_000)
    return packed(
        pa.table({"customer_id": ["ann"], "holdings": pa.ListArray.from_arrays([0, 12_000_000], items)})
    )


def items_that_are_large() -> bytes:
    rows = 20_000
    items = repeated("x" * 1_000_000, rows * 100)
    holdings = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * 100), items)
    return packed(pa.table({"customer_id": [str(n) for n in range(rows)], "holdings": holdings}))


def many_columns() -> bytes:
    return packed(pa.table({"customer_id": ["ann"], **{f"c{n}": [1] for n in range(6000)}}))


def many_row_groups() -> bytes:
    stream = io.BytesIO()
    table = pa.table({"customer_id": ["ann"]})
    with pq.ParquetWriter(stream, table.schema) as writer:
        for _ in range(20_001):
            writer.write_table(table)
    return stream.getvalue()


BOMBS: dict[Callable[[], bytes], str] = {
    dictionary_of_one_text: "far more than a file of this size",
    one_large_page: "a page of 60 MiB; at most 16",
    shared_beginnings: "encoding DELTA_BYTE_ARRAY",
    runs_of_items: "12000000 items in one row group",
    items_that_are_large: "would have 95 MiB; at most 16",
    many_columns: "6001 columns; at most 5000",
    many_row_groups: "20001 row groups; at most 20000",
}


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_a_small_file_never_takes_much_memory(bomb: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    path.write_bytes(bomb())
    assert path.stat().st_size < 6_000_000
    said, mib = read_apart(path)
    assert BOMBS[bomb] in said
    assert mib < MAX_MIB


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "columns",
            b"customer_id," + b",".join(b"c%d" % n for n in range(100_000)) + b"\nann\n",
            "100001 columns",
        ),
        ("quoted", b'"customer\n_id",' + b"c," * 6000 + b"\nann\n", "6002 columns"),
        ("line", b"customer_id,a\nann," + b"x" * (20 << 20) + b"\n", "a row is longer than 2 MiB"),
        ("header", b"customer_id" * (1 << 20), "it needs a header"),
    ],
)
def test_wide_csv_files_are_refused(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.csv"
    path.write_bytes(content)
    said, mib = read_apart(path)
    assert reason in said
    assert mib < MAX_MIB


def read_apart(path: Path) -> tuple[str, float]:
    """What came of a file in a process of its own, and the memory that it took, in MiB."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.import_peak", str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r": (.*); (-?\d+) MiB", done.stdout)
    assert found is not None, done.stdout
    return found[1], float(found[2])


def test_dictionaries_are_written_out_as_they_were() -> None:
    table = pa.table(
        {
            "customer_id": [f"c{n}" for n in range(5000)],
            "text": ["x" * 4000 if n % 2 else None for n in range(5000)],
            "holdings": [
                None if n % 3 == 0 else ["card", None, "é" * (n % 50)][: n % 4] for n in range(5000)
            ],
        }
    )
    source = ParquetSource(packed(table))
    batches = [block.batch for block in source.blocks()]
    assert len(batches) > 1  # in parts, since the texts are long
    assert pa.Table.from_batches(batches).equals(table)
    assert [row for block in source.blocks() for row in block.rows] == list(range(1, 5001))


def test_a_page_that_lies_about_its_size_is_refused() -> None:
    data = bytearray(packed(pa.table({"customer_id": ["ann"], "a": ["x" * 1000]}), use_dictionary=False))
    column = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(0).column(1)
    header = CompactReader(bytes(data[column.data_page_offset :]))
    assert header.read(PAGE)[2] == 1010
    data[column.data_page_offset] = 0xFD  # not a field of any kind
    with pytest.raises(ImportFileError, match="damaged"):
        ParquetSource(bytes(data))


def test_rows_beyond_all_proportion_are_refused_by_the_metadata() -> None:
    chunks = [Chunk(0, "a", 1000, 1000, (), stored_bytes=1000, dictionary_at=None, data_at=4)]
    few: Any = SimpleNamespace(num_columns=60, num_rows=1000)
    assert decoded_bound(few, chunks) == (64 << 20) + 500 * 1000
    many: Any = SimpleNamespace(num_columns=60, num_rows=2_000_000)
    with pytest.raises(ImportFileError, match="2000000 rows of 60 columns are far more"):
        decoded_bound(many, chunks)


def test_the_footer_is_bounded_before_it_is_read() -> None:
    length = 9 << 20
    with pytest.raises(ImportFileError, match="has 9 MiB; at most 8"):
        check_footer(io.BytesIO(b"PAR1" + bytes(length) + length.to_bytes(4, "little") + b"PAR1"))
    check_footer(io.BytesIO(b"PAR1"))


def test_files_of_any_sensible_shape_are_taken() -> None:
    table = pa.table(
        {"customer_id": [f"c{n}" for n in range(3000)], **{f"c{n}": [n] * 3000 for n in range(300)}}
    )
    run = open_customers(packed(table, row_group_size=500, data_page_version="2.0"), "parquet")
    assert sum(batch.num_rows for batch in run.batches()) == 3000
    assert (
        CsvSource(b"customer_id," + b",".join(b"c%d" % n for n in range(900)) + b"\n").schema.names[900]
        == "c899"
    )
