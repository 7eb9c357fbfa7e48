"""Whatever file comes, it is read or refused: no other error gets out."""

import io
import random
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import ImportFileError
from profiles.importing.run import open_customers
from profiles.importing.source import FileFormat


def intact() -> dict[FileFormat, bytes]:
    """A file of customers in both formats."""
    table = pa.table(
        {
            "customer_id": [f"c{number}" for number in range(60)],
            "note": ['a "b", c'] * 60,
            "indicators.clv": [number / 4 for number in range(60)],
            "consents.ads": ["email|*"] * 60,
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=25)
    csv = io.BytesIO()
    pa_csv.write_csv(table, csv)
    return {"parquet": out.getvalue(), "csv": csv.getvalue()}


FILES = intact()


@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_files_are_refused_or_read_but_nothing_else_happens(
    file_format: FileFormat, data: st.DataObject
) -> None:
    damaged = bytearray(FILES[file_format])
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ImportFileError):
        run = open_customers(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]), file_format)
        loaded = sum(batch.num_rows for batch in run.batches())
        assert (run.report().loaded, run.report().rows) == (loaded, run.rows_total)


ENCODINGS: list[dict[str, Any]] = [
    {"compression": "snappy"},
    {"compression": "none", "use_dictionary": False},
    {"compression": "zstd", "data_page_version": "2.0"},
    {"compression": "gzip", "use_dictionary": False},
    {"compression": "brotli"},
    {"compression": "none", "write_page_checksum": True},
    {"compression": "none", "use_deprecated_int96_timestamps": True},
    {"compression": "none", "write_statistics": False, "row_group_size": 7},
    {
        "compression": "none",
        "use_dictionary": False,
        "data_page_version": "2.0",
        "column_encoding": {
            "age": "DELTA_BINARY_PACKED",
            "note": "DELTA_LENGTH_BYTE_ARRAY",
            "indicators.clv": "BYTE_STREAM_SPLIT",
            "flag": "RLE",
        },
    },
]
FLIPS = 22
"""Of bits, for each of the encodings; most of them where the file describes itself."""


@pytest.mark.parametrize("options", ENCODINGS, ids=str)
def test_files_of_any_encoding_with_flipped_bits_are_read_or_refused(options: dict[str, Any]) -> None:
    table = pa.table(
        {
            "customer_id": [f"c{number}" for number in range(60)],
            "note": [f"n{number % 7}" for number in range(60)],
            "flag": [number % 2 == 0 for number in range(60)],
            "age": list(range(60)),
            "indicators.clv": [number / 4 for number in range(60)],
            "seen": pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * 60, pa.timestamp("us", "UTC")),
            "holdings": [["a", "b"]] * 60,
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out, **({"row_group_size": 25} | options))
    data = out.getvalue()
    assert sum(batch.num_rows for batch in open_customers(data, "parquet").batches()) == 60
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    rng = random.Random(str(options))
    for number in range(FLIPS):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 3))):
            damaged[rng.randrange(footer if number % 3 else 0, len(data))] ^= 1 << rng.randrange(8)
        with suppress(ImportFileError):
            for _ in open_customers(bytes(damaged), "parquet").batches():
                pass


def test_times_of_a_zone_that_is_not_known_are_refused() -> None:
    out = io.BytesIO()
    seen = pa.array([0], pa.timestamp("us", "Nowhere/Land"))
    pq.write_table(pa.table({"customer_id": ["a"], "seen": seen}), out)
    with pytest.raises(ImportFileError, match="column 'seen' are of a zone that is not known"):
        open_customers(out.getvalue(), "parquet")


TYPES = [
    *(pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
    *(pa.string(), pa.large_string(), pa.binary(), pa.binary(4), pa.date32(), pa.date64(), pa.time32("s")),
    *(pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.duration("s"), pa.decimal128(38, 10)),
    *(pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.string(), 2), pa.list_(pa.int64())),
    *(pa.list_(pa.dictionary(pa.int32(), pa.string())), pa.struct([("a", pa.int64())])),
    *(pa.map_(pa.string(), pa.string()), pa.dictionary(pa.int32(), pa.string())),
    *(pa.dictionary(pa.int32(), pa.float64()), pa.dictionary(pa.int8(), pa.int64())),
]


@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize(
    "field", ["customer_id", "x", "indicators.x", "interests.x", "holdings", "consents.x"]
)
def test_a_column_of_any_type_is_understood_or_refused(type_: pa.DataType, field: str) -> None:
    columns = {"customer_id": pa.array(["a", "b"]), field: pa.array([None, None], type_)}
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    with suppress(ImportFileError):
        run = open_customers(out.getvalue(), "parquet")
        assert sum(batch.num_rows for batch in run.batches()) == (0 if field == "customer_id" else 2)
