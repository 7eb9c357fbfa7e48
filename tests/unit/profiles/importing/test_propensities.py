"""Files of propensities: rows that are refused, and columns of any type."""

from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pytest

from profiles.errors import ImportFileError
from profiles.importing.problems import Refusal, shown
from profiles.importing.run import open_propensities
from tests.support.import_files import OFFERS, parquet, rows_of


@pytest.mark.parametrize(
    ("row", "refusal"),
    [
        ("c1,o1", (None, "has 2 fields instead of 3", "c1,o1")),
        ("c1,o1,0.5,x", (None, "has 4 fields instead of 3", "c1,o1,0.5,x")),
        (",o1,0.5", ("customer_id", "is empty", "")),
        ("x" * 129 + ",o1,0.5", ("customer_id", "is longer than 128 characters", "x" * 99 + "…")),
        ("a\0b,o1,0.5", ("customer_id", "contains the character NUL, which cannot be stored", "a\0b")),
        ("c1,,0.5", ("offer_id", "is empty", "")),
        ("c1,o9,0.5", ("offer_id", "is not an offer of the catalogue: create the offer first", "o9")),
        ("c1,o1,", ("propensity", "is empty", "")),
        ("c1,o1,high", ("propensity", "is not a number", "high")),
        ("c1,o1,nan", ("propensity", "is not a finite number", "nan")),
        ("c1,o1,-inf", ("propensity", "is not a finite number", "-inf")),
        ("c1,o1,1.01", ("propensity", "lies outside of 0 to 1", "1.01")),
        ("c1,o1,-0.01", ("propensity", "lies outside of 0 to 1", "-0.01")),
    ],
)
def test_a_bad_propensity_is_refused_alone(row: str, refusal: tuple[str | None, str, str]) -> None:
    data = f"customer_id,offer_id,propensity\nc1,o1,0.25\n{row}\nc2,o2,1\n"
    run = open_propensities(data.encode(), OFFERS, "csv")
    assert rows_of(run) == [
        {"customer_id": "c1", "offer_id": "o1", "propensity": 0.25},
        {"customer_id": "c2", "offer_id": "o2", "propensity": 1.0},
    ]
    report = run.report()
    assert (report.rows, report.loaded, report.refused) == (3, 2, 1)
    customer = row.split(",")[0]
    entity = f"customers.{shown(customer)}" if customer and refusal[0] is not None else None
    assert [replace(found, line=None) for found in report.refusals] == [Refusal(2, *refusal, entity)]


def test_every_cell_of_a_row_that_is_wrong_is_told_with_its_line_and_whom_the_row_is_about() -> None:
    data = 'customer_id,offer_id,propensity\n\n"c\n1",o1,0.5\nc2,o1,0.5\nc3,o9,2\n,o9,high\nc4,o1,0.5\n'
    run = open_propensities(data.encode(), OFFERS, "csv")
    assert [row["customer_id"] for row in rows_of(run)] == ["c2", "c4"]
    report = run.report()
    assert (report.rows, report.loaded, report.refused) == (5, 2, 3)
    assert [(r.line, r.row, r.entity, r.field, r.value) for r in report.refusals] == [
        (3, 1, "customers.c\n1", "customer_id", "c\n1"),
        (6, 3, "customers.c3", "offer_id", "o9"),
        (6, 3, "customers.c3", "propensity", "2"),
        (7, 4, None, "customer_id", ""),
        (7, 4, None, "offer_id", "o9"),
        (7, 4, None, "propensity", "high"),
    ]


def test_all_mistakes_of_the_columns_are_told_at_once() -> None:
    table = {"customer": ["c"], "offer_id": pa.array([0.5]), "propensity": pa.array([True])}
    with pytest.raises(ImportFileError) as error:
        open_propensities(parquet(table), OFFERS, "parquet")
    assert [(m.field, str(m).split(":")[0]) for m in error.value.mistakes] == [
        ("customer_id", "the column 'customer_id' is missing"),
        ("customer", "the column 'customer' has no meaning here"),
        ("offer_id", "column 'offer_id' holds double"),
        ("propensity", "column 'propensity' holds bool"),
    ]
    assert str(error.value).endswith("; and 1 more")
    with pytest.raises(ImportFileError) as named:
        open_propensities(b"\na,b,a,,b\n", OFFERS, "csv")
    assert [(m.field, m.line) for m in named.value.mistakes] == [("a", 2), (None, 2), ("b", 2)]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 1, 2], pa.int8()),
        pa.array([0.0, 1.0, 2.0], pa.float16()),
        pa.array([0.0, 1.0, 2.0], pa.float32()),
        pa.array([Decimal("0.0"), Decimal("1.0"), Decimal("2.0")], pa.decimal128(4, 2)),
        pa.array(["0", "1.0", "2"]),
        pa.array(["0", "1.0", "2"]).dictionary_encode(),
    ],
)
def test_parquet_numbers_of_any_type(values: pa.Array) -> None:
    run = open_propensities(
        parquet({"customer_id": pa.array([7, 8, 9]), "offer_id": ["o1"] * 3, "propensity": values}),
        OFFERS,
        "parquet",
    )
    assert [(row["customer_id"], row["propensity"]) for row in rows_of(run)] == [("7", 0.0), ("8", 1.0)]
    assert [(refusal.row, refusal.field) for refusal in run.report().refusals] == [(3, "propensity")]


def test_parquet_nulls_are_empty() -> None:
    run = open_propensities(
        parquet(
            {"customer_id": ["a", None, "c"], "offer_id": ["o1", "o1", None], "propensity": [None, 0.1, 0.1]}
        ),
        OFFERS,
        "parquet",
    )
    assert rows_of(run) == []
    assert [(r.field, r.reason, r.value) for r in run.report().refusals] == [
        ("propensity", "is empty", ""),
        ("customer_id", "is empty", ""),
        ("offer_id", "is empty", ""),
    ]


def test_a_column_without_any_values() -> None:
    columns = {"customer_id": ["a"], "offer_id": ["o1"], "propensity": pa.nulls(1)}
    run = open_propensities(parquet(columns), OFFERS, "parquet")
    assert rows_of(run) == []
    assert run.report().refused == 1


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
