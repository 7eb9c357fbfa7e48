"""CSV as people write it, and what is said about files that cannot be imported at all."""

import pytest

from profiles.errors import ImportFileError
from profiles.importing.csv_source import CsvSource
from profiles.importing.run import open_customers, open_propensities
from tests.support.import_files import OFFERS


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
