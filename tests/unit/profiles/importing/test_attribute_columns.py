"""Attributes by their declared types, from both kinds of files."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiles.declared import INEXACT, NOT_AN_INSTANT, NOT_TEXT, NOT_TRUE_OR_FALSE, NOT_WHOLE
from profiles.importing.run import ImportRun, open_customers
from profiles.limits import BEYOND_64_BITS, NOT_A_NUMBER
from tests.support.import_files import parquet, rows_of

TYPES = {
    "zip": "string", "card": "int", "rate": "number", "since": "timestamp", "vip": "bool",
}  # fmt: skip


def attributes(run: ImportRun) -> list[dict[str, Any]]:
    """The attributes of all rows that are loaded."""
    return [json.loads(row["attributes"]) for row in rows_of(run)]


def from_csv(name: str, *cells: str) -> ImportRun:
    """A file with one attribute."""
    rows = "".join(f"c{number},{cell}\n" for number, cell in enumerate(cells))
    return open_customers(f"customer_id,{name}\n{rows}".encode(), "csv", None, TYPES)


def from_parquet(name: str, values: Any) -> ImportRun:
    """A file with one attribute."""
    ids = [f"c{number}" for number in range(len(values))]
    return open_customers(parquet({"customer_id": ids, name: values}), "parquet", None, TYPES)


@pytest.mark.parametrize(
    ("name", "cells", "kept"),
    [
        ("zip", ["08001", "28002", "12E3", "true", "28002.0"], ["08001", "28002", "12E3", "true", "28002.0"]),
        (
            "card",
            ["9007199254740993", "1234567890123456789", "-7", "+7"],
            [2**53 + 1, 1234567890123456789, -7, 7],
        ),
        ("card", ["1", "2"], [1, 2]),
        ("rate", ["0.5", "12E3", ".5"], [0.5, 12000.0, 0.5]),
        ("vip", ["true", "FALSE"], [True, False]),
        ("since", ["2026-03-01", "2026-03-01T09:30:00Z"], ["2026-03-01", "2026-03-01T09:30:00Z"]),
        ("max_contacts_per_day", ["1", " 2 "], [1, 2]),
    ],
)
def test_cells_become_what_is_declared(name: str, cells: list[str], kept: list[Any]) -> None:
    run = from_csv(name, *cells, "")
    assert repr(attributes(run)) == repr([*({name: value} for value in kept), {}])


@pytest.mark.parametrize(
    ("name", "cell", "reason"),
    [
        ("card", "12x", NOT_A_NUMBER),
        ("card", "1.5", NOT_WHOLE),
        ("card", "9223372036854775808", BEYOND_64_BITS),
        ("rate", "much", NOT_A_NUMBER),
        ("vip", "yes", NOT_TRUE_OR_FALSE),
        ("since", "2026-02-30", NOT_AN_INSTANT),
        ("since", "1772357400", NOT_AN_INSTANT),
        ("min_gap_s", "an hour", NOT_A_NUMBER),
    ],
)
def test_cells_that_are_not_what_is_declared_are_refused(name: str, cell: str, reason: str) -> None:
    run = from_csv(name, cell, "")
    assert attributes(run) == [{}]
    (refusal,) = run.report().refusals
    assert (refusal.row, refusal.field, refusal.reason, refusal.value) == (1, name, reason, cell)


@pytest.mark.parametrize(
    ("name", "values", "kept"),
    [
        ("zip", pa.array([8001, 2**60]), ["8001", str(2**60)]),
        ("zip", pa.array(["08001"]).dictionary_encode(), ["08001"]),
        ("card", pa.array([2**53 + 1]), [2**53 + 1]),
        ("card", pa.array([Decimal(2**60 + 1)], pa.decimal128(38, 0)), [2**60 + 1]),
        ("card", pa.array([4.0]), [4]),
        ("card", pa.array(["9007199254740993"]), [2**53 + 1]),
        ("undeclared", pa.array([Decimal(2**60 + 1)], pa.decimal128(38, 0)), [2**60 + 1]),
        ("undeclared", pa.array([2**53 + 1]), [2**53 + 1]),
        (
            "since",
            pa.array([datetime(2026, 3, 1, 9, 30, tzinfo=UTC)], pa.timestamp("us")),
            ["2026-03-01 09:30:00.000000"],
        ),
        ("max_contacts_per_week", pa.array(["2"]), [2]),
    ],
)
def test_columns_become_what_is_declared(name: str, values: Any, kept: list[Any]) -> None:
    assert repr(attributes(from_parquet(name, values))) == repr([{name: value} for value in kept])


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("zip", pa.array([28002.0]), NOT_TEXT),
        ("zip", pa.array([True]), NOT_TEXT),
        ("card", pa.array([2.0**60]), INEXACT),
        ("card", pa.array([Decimal(2**70)], pa.decimal128(38, 0)), BEYOND_64_BITS),
        ("rate", pa.array([True]), NOT_A_NUMBER),
        ("since", pa.array([1772357400]), NOT_AN_INSTANT),
        ("vip", pa.array([1]), NOT_TRUE_OR_FALSE),
        ("max_contacts_per_day", pa.array([True]), NOT_A_NUMBER),
    ],
)
def test_columns_that_are_not_what_is_declared_are_refused(name: str, values: Any, reason: str) -> None:
    run = from_parquet(name, values)
    assert attributes(run) == []
    assert [refusal.reason for refusal in run.report().refusals] == [reason]


@pytest.mark.parametrize("year", [1, 1677, 2026, 2263, 9999])
def test_int96_dates_of_any_year_are_read_as_they_were_written(year: int) -> None:
    moment = datetime(year, 5, 6, 7, tzinfo=UTC)
    table = pa.table({"customer_id": ["c"], "since": pa.array([moment], pa.timestamp("us"))})
    out = io.BytesIO()
    pq.write_table(table, out, use_deprecated_int96_timestamps=True)
    (found,) = attributes(open_customers(out.getvalue(), "parquet", None, TYPES))
    assert datetime.fromisoformat(found["since"]).replace(tzinfo=UTC) == moment
