"""Parquet that is damaged, or holds what is no text."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiles.errors import ImportFileError
from profiles.importing.parquet_source import ParquetSource
from profiles.importing.run import open_customers
from tests.support.import_files import parquet


def test_damaged_parquet() -> None:
    with pytest.raises(ImportFileError, match="not a Parquet file"):
        open_customers(b"customer_id\nc1\n", "parquet")
    whole = parquet({"customer_id": [f"c{i}" for i in range(1000)]})
    with pytest.raises(ImportFileError, match="not a Parquet file, or it is damaged"):
        open_customers(whole[:-20], "parquet")
    broken = whole[:10] + b"\xff" * 200 + whole[210:]
    with pytest.raises(ImportFileError, match="damaged"):
        open_customers(broken, "parquet")


def test_parquet_text_that_is_not_utf8() -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\x01\0\0\0"), pa.py_buffer(b"\xff")]
    )
    out = io.BytesIO()
    pq.write_table(pa.table({"customer_id": bad}), out)
    with pytest.raises(ImportFileError, match="not UTF-8"):
        ParquetSource(out.getvalue()).check()
