"""One import of one file: what can be opened, and what is counted."""

from pathlib import Path

import pytest

from profiles.errors import ImportFileError
from profiles.importing.run import open_customers, open_propensities
from tests.support.import_files import OFFERS, rows_of


def test_reading_again_counts_again() -> None:
    run = open_propensities(b"customer_id,offer_id,propensity\nc1,o1,2\n", OFFERS, "csv")
    rows_of(run)
    first = run.report()
    rows_of(run)
    assert run.report() == first


PROPENSITIES = b"customer_id,offer_id,propensity\n"


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


def test_header_alone_is_an_import_of_nothing() -> None:
    run = open_propensities(PROPENSITIES, OFFERS, "csv")
    assert list(run.batches()) == []
    assert run.report().rows == run.rows_total == 0
