"""Files that cannot be imported at all, and what is said about them."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiles.errors import ImportFileError
from profiles.importing.csv_source import CsvSource
from profiles.importing.parquet_source import ParquetSource
from profiles.importing.run import open_customers, open_history, open_propensities
from profiles.importing.source import FileFormat, format_of_content_type, format_of_path

OFFERS = ["o1"]
PROPENSITIES = b"customer_id,offer_id,propensity\n"


def parquet(columns: dict[str, Any]) -> bytes:
    """A Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"customer_id;age\nc1;4\n", "not separated by commas"),
        (b"customer_id\tage\nc1\t4\n", "not separated by commas"),
        (b"customer_id,age,age\nc1,1,2\n", "two columns 'age'"),
        (b"customer_id,age,\nc1,1,2\n", "column 3 has no name"),
        (b"customer_id,a\0b\nc1,1\n", "the name of column 2 contains the character NUL"),
        (b"age\n4\n", "'customer_id' is missing"),
        (b"customer_id,city\nc1,K\xf6ln\n", "line 2 has the byte 0xf6"),
        (b"customer_id,city\nc1,a\nc2,b\nc3,\xff\n", "line 4 has the byte 0xff"),
        (b"customer_id,city\nc1,K\xc3", "last character is cut off"),
        ("customer_id,city\n".encode("utf-16"), "UTF-16"),
        (b"PAR1....", "Parquet"),
        (b"PK\x03\x04....", "spreadsheet"),
        (b"\x1f\x8b\x08....", "compressed"),
        (b'customer_id,note\nc1,"open\nc2,x\nc3,y\n', "row 1: a quote is opened and never closed"),
        (b'customer_id,note\nc1,x\n"open,y\nc3,z\n', "row 2: a quote is opened and never closed"),
        (b"customer_id,consents\nc1,email\n", "'consents.<name>'"),
        (b"customer_id,attributes.age,age\nc1,1,2\n", "'age' and 'attributes.age' are the same"),
        (b"customer_id,interests.\nc1,1\n", "'interests.' has no name after the point"),
        (b"customer_id," + b"x" * 129 + b"\nc1,1\n", "is longer than 128 characters"),
    ],
)
def test_unusable_csv(data: bytes, message: str) -> None:
    with pytest.raises(ImportFileError, match=message):
        open_customers(data, "csv")


def test_a_row_beyond_the_size_of_a_block_is_named() -> None:
    data = b"a,b\n1," + b"x" * 300 + b"\n2,y\n"
    with pytest.raises(ImportFileError, match="a row is longer than"):
        CsvSource(data, block_bytes=64).check()


def test_bytes_that_are_not_utf8_are_found_behind_the_first_block() -> None:
    data = b"a,b\n" + b"1,x\n" * 99 + "ü".encode() * 40 + b"\xff,y\n"
    with pytest.raises(ImportFileError, match="line 101 has the byte 0xff"):
        CsvSource(data, block_bytes=17)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": [1]}, "'customer_id' is missing"),
        ({"customer_id": [1.5]}, "'customer_id' holds double: it must hold text"),
        ({"customer_id": ["c"], "attributes.tags": [["a"]]}, "'attributes.tags' holds list"),
        (
            {"customer_id": ["c"], "indicators.clv": [True]},
            "'indicators.clv' holds bool: it must hold numbers",
        ),
        ({"customer_id": ["c"], "holdings": [[1]]}, "'holdings' holds list.*it must hold lists of text"),
        ({"customer_id": ["c"], "consents.ads": [True]}, "'consents.ads' holds bool"),
        ({"customer_id": ["c"], "consents": [{"ads": ["email"]}]}, "'consents.<name>'"),
    ],
)
def test_unusable_parquet(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ImportFileError, match=message):
        open_customers(parquet(columns), "parquet")


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


@pytest.mark.parametrize(
    ("header", "message", "field"),
    [
        (b"customer_id,offer_id\n", "'propensity' is missing", "propensity"),
        (b"offer_id,propensity\n", "'customer_id' is missing", "customer_id"),
        (b"customer_id,offer_id,propensity,score\n", "'score' has no meaning here", "score"),
    ],
)
def test_columns_of_propensities(header: bytes, message: str, field: str) -> None:
    with pytest.raises(ImportFileError, match=message) as caught:
        open_propensities(header + b"1,2,3,4\n", OFFERS, "csv")
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("customer_id,offer_id,outcome", "'decided_at' is missing"),
        ("customer_id,offer_id,decided_at", "'outcome' is missing"),
        ("customer_id,offer_id,decided_at,outcome,ocurred_at", "'ocurred_at' has no meaning here"),
    ],
)
def test_columns_of_history(columns: str, message: str) -> None:
    with pytest.raises(ImportFileError, match=message):
        open_history(f"{columns}\n".encode(), OFFERS, "csv")


def test_history_needs_dates() -> None:
    columns = {"customer_id": ["c"], "offer_id": ["o1"], "decided_at": [True], "outcome": ["expired"]}
    with pytest.raises(ImportFileError, match="'decided_at' holds bool: it must hold timestamps"):
        open_history(parquet(columns), OFFERS, "parquet")


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="there is no file"):
        open_customers(tmp_path / "none.csv")
    with pytest.raises(ImportFileError, match="is not a file"):
        open_customers(tmp_path)
    other = tmp_path / "customers.xlsx"
    other.write_bytes(b"x")
    with pytest.raises(ImportFileError, match=r"neither \.csv nor \.parquet"):
        open_customers(other)
    with pytest.raises(ImportFileError, match="format of the data is not known"):
        open_customers(b"customer_id\nc1\n")
    named = tmp_path / "Customers.CSV"
    named.write_bytes(b"customer_id\nc1\nc2\n")
    assert open_customers(named).rows_total == 2


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/csv", "csv"),
        ("Text/CSV; charset=utf-8", "csv"),
        ("application/vnd.apache.parquet", "parquet"),
    ],
)
def test_formats_by_content_type(content_type: str, expected: FileFormat) -> None:
    assert format_of_content_type(content_type) == expected


def test_other_content_types_are_refused() -> None:
    with pytest.raises(ImportFileError, match="send text/csv"):
        format_of_content_type("application/json")


def test_formats_by_name() -> None:
    assert format_of_path(Path("x/a.PQ")) == "parquet"


def test_header_alone_is_an_import_of_nothing() -> None:
    run = open_propensities(PROPENSITIES, OFFERS, "csv")
    assert list(run.batches()) == []
    assert run.report().rows == run.rows_total == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfcustomer_id,offer_id,propensity\nc1,o1,0.5\n",
        b"\n\ncustomer_id,offer_id,propensity\n\nc1,o1,0.5",
        b"customer_id, offer_id ,propensity\r\n c1 ,o1, 0.5\r\n",
        b'"customer_id","offer_id","propensity"\r"c1","o1","0.5"\r',
        b"propensity,offer_id,customer_id\n.5,o1,c1\n",
    ],
)
def test_usual_ways_to_write_csv(data: bytes) -> None:
    run = open_propensities(data, OFFERS, "csv")
    rows = [row for batch in run.batches() for row in batch.to_pylist()]
    assert rows == [{"customer_id": "c1", "offer_id": "o1", "propensity": 0.5}]
    assert run.report().rows == 1


def test_a_quote_inside_of_a_cell_is_no_open_quote() -> None:
    run = open_customers(b'customer_id,size\nc1,5" pipe\nc2,x\n', "csv")
    assert run.rows_total == 2
