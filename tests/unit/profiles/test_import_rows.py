"""Rows that are refused, and how the others are read, by kind of file."""

import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiles.importing.problems import Refusal
from profiles.importing.run import ImportRun, open_customers, open_history, open_propensities

OFFERS = ["o1", "o2"]


def parquet(columns: dict[str, Any]) -> bytes:
    """A Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def rows_of(run: ImportRun) -> list[dict[str, Any]]:
    """All rows that a run yields."""
    return [row for batch in run.batches() for row in batch.to_pylist()]


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
        (",o9,x", ("customer_id", "is empty", "")),
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
    assert report.refusals == (Refusal(2, *refusal),)


def test_reading_again_counts_again() -> None:
    run = open_propensities(b"customer_id,offer_id,propensity\nc1,o1,2\n", OFFERS, "csv")
    rows_of(run)
    first = run.report()
    rows_of(run)
    assert run.report() == first


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


def customer_row(run: ImportRun) -> dict[str, Any]:
    """The only customer of a run, with its parts parsed."""
    (row,) = rows_of(run)
    return {k: json.loads(v) if isinstance(v, str) and k != "customer_id" else v for k, v in row.items()}


def test_parquet_attributes_keep_their_types() -> None:
    columns = {
        "customer_id": ["c1"],
        "text": ["12"],
        "whole": pa.array([7], pa.int32()),
        "float": [7.0],
        "small": pa.array([0.1], pa.float32()),
        "money": [Decimal("12.50")],
        "flag": [True],
        "day": [date(2026, 3, 1)],
        "kind": pa.array(["gold"]).dictionary_encode(),
        "absent": pa.array([None], pa.int64()),
        "nothing": pa.nulls(1),
        "interests.golf": pa.array([1], pa.int8()),
        "holdings": [["loan", " ", None, "card"]],
        "consents.ads": [["email", "*"]],
        "consents.calls": pa.array(["phone|web"]).dictionary_encode(),
        "consents.none": pa.array([[]], pa.list_(pa.string())),
    }
    customer = customer_row(open_customers(parquet(columns), "parquet"))
    assert repr(customer["attributes"]) == repr(
        {
            "text": "12",
            "whole": 7,
            "float": 7.0,
            "small": 0.1,
            "money": 12.5,
            "flag": True,
            "day": "2026-03-01",
            "kind": "gold",
        }
    )
    assert customer["interests"] == {"golf": 1}
    assert customer["holdings"] == ["loan", "card"]
    assert customer["consents"] == {"ads": ["email", "*"], "calls": ["phone", "web"]}


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("rate", [np.nan], "is not a finite number"),
        ("rate", [np.inf], "is not a finite number"),
        ("rate", pa.array([2**63], pa.uint64()), "is a whole number beyond 64 bits"),
        ("indicators.clv", [-np.inf], "is not a finite number"),
        ("indicators.clv", ["much"], "is not a number"),
        ("note", ["a\0b"], "contains the character NUL, which cannot be stored"),
        ("note", ["x" * 4097], "is longer than 4096 characters"),
        ("holdings", [["a", "b\0"]], "contains the character NUL, which cannot be stored"),
        ("holdings", [["x" * 129]], "has an item that is longer than 128 characters"),
        ("holdings", [["x"] * 1001], "has more than 1000 items"),
        ("consents.ads", ["Yes"], "names no channels: write them separated by |, * for all of them"),
    ],
)
def test_a_bad_customer_is_refused_alone(column: str, values: Any, reason: str) -> None:
    good = pa.array([None], values.type if isinstance(values, pa.Array) else pa.array(values).type)
    both = pa.concat_arrays([pa.array(values), good])
    run = open_customers(parquet({"customer_id": ["bad", "good"], column: both}), "parquet")
    assert [row["customer_id"] for row in rows_of(run)] == ["good"]
    (refusal,) = run.report().refusals
    assert (refusal.row, refusal.field) == (1, column)
    assert refusal.reason.startswith(reason)


def test_all_control_characters_survive() -> None:
    note = "".join(map(chr, range(1, 32))) + "\x7f\u2028\U0001f600"
    customer = customer_row(open_customers(parquet({"customer_id": ["c"], "note": [f"a{note}z"]}), "parquet"))
    assert customer["attributes"]["note"] == f"a{note}z"


HISTORY = "customer_id,offer_id,decided_at,outcome"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T09:30:00Z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01 09:30:00.123456", datetime(2026, 3, 1, 9, 30, 0, 123456, tzinfo=UTC)),
        ("2026-03-01T09:30:00+02:00", datetime(2026, 3, 1, 7, 30, tzinfo=UTC)),
        ("20260301T093000Z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("1772357400", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("1772357400.25", datetime(2026, 3, 1, 9, 30, 0, 250000, tzinfo=UTC)),
    ],
)
def test_dates_of_history(cell: str, expected: datetime) -> None:
    run = open_history(f"{HISTORY}\nc1,o1,{cell},accepted\n".encode(), OFFERS, "csv")
    (row,) = rows_of(run)
    assert row["decided_at"] == expected
    assert row["decided_at"].utcoffset() == timedelta(0)
    assert row["occurred_at"] is row["value"] is row["placement"] is row["propensity"] is None


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        (",o1,2026-03-01,accepted,,,,", "customer_id", "is empty"),
        ("c1,o7,2026-03-01,accepted,,,,", "offer_id", "is not an offer"),
        ("c1,o1,,accepted,,,,", "decided_at", "is empty"),
        ("c1,o1,yesterday,accepted,,,,", "decided_at", "is not a date"),
        ("c1,o1,2026-13-01,accepted,,,,", "decided_at", "is not a date"),
        ("c1,o1,inf,accepted,,,,", "decided_at", "is not a date"),
        ("c1,o1,20260301,accepted,,,,", "decided_at", "lies outside of the years 1990 to 2099"),
        ("c1,o1,1772357400000,accepted,,,,", "decided_at", "lies outside of the years 1990 to 2099"),
        ("c1,o1,1e300,accepted,,,,", "decided_at", "lies outside of the years 1990 to 2099"),
        ("c1,o1,2026-03-01,bought,,,,", "outcome", "is none of accepted, rejected, expired"),
        ("c1,o1,2026-03-01,,,,,", "outcome", "is none of accepted, rejected, expired"),
        ("c1,o1,2026-03-01,accepted,soon,,,", "occurred_at", "is not a date"),
        ("c1,o1,2026-03-01,accepted,2026-02-28,,,", "occurred_at", "is before decided_at"),
        ("c1,o1,2026-03-01,accepted,,lots,,", "value", "is not a number"),
        ("c1,o1,2026-03-01,accepted,,nan,,", "value", "is not a finite number"),
        ("c1,o1,2026-03-01,accepted,,-1.1e15,,", "value", "lies outside of -1e+15 to 1e+15"),
        ("c1,o1,2026-03-01,accepted,,," + "p" * 129 + ",", "placement", "is longer than 128"),
        ("c1,o1,2026-03-01,accepted,,,,1.5", "propensity", "lies outside of 0 to 1"),
    ],
)
def test_bad_history_is_refused_alone(row: str, field: str, reason: str) -> None:
    good = "c1,o1,2026-03-01T10:00:00Z,accepted,2026-03-01T10:00:00Z,12.5,home,0.25"
    data = f"{HISTORY},occurred_at,value,placement,propensity\n{good}\n{row}\n"
    run = open_history(data.encode(), OFFERS, "csv")
    moment = datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert rows_of(run) == [
        {
            "customer_id": "c1",
            "offer_id": "o1",
            "decided_at": moment,
            "outcome": "accepted",
            "occurred_at": moment,
            "value": 12.5,
            "placement": "home",
            "propensity": 0.25,
        }
    ]
    (refusal,) = run.report().refusals
    assert (refusal.row, refusal.field) == (2, field)
    assert refusal.reason.startswith(reason)


@pytest.mark.parametrize(
    "decided",
    [
        pa.array(np.array(["2026-03-01T09:00", "NaT"], "datetime64[ns]")),
        pa.array(
            [datetime(2026, 3, 1, 10, tzinfo=timezone(timedelta(hours=1))), None],
            pa.timestamp("ms", "Asia/Tokyo"),
        ),
        pa.array([int(datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp()), None], pa.int64()),
        pa.array([datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp(), np.nan], pa.float64()),
    ],
)
def test_parquet_dates_of_any_type(decided: pa.Array) -> None:
    columns = {
        "customer_id": ["a", "b"],
        "offer_id": ["o1", "o2"],
        "decided_at": decided,
        "outcome": ["expired", "expired"],
    }
    run = open_history(parquet(columns), OFFERS, "parquet")
    assert [row["decided_at"] for row in rows_of(run)] == [datetime(2026, 3, 1, 9, tzinfo=UTC)]
    assert [refusal.field for refusal in run.report().refusals] == ["decided_at"]


def test_parquet_dates_beyond_the_calendar() -> None:
    columns = {
        "customer_id": ["a"],
        "offer_id": ["o1"],
        "decided_at": pa.array([2**40], pa.int64()).cast(pa.timestamp("s")),
        "outcome": ["expired"],
    }
    run = open_history(parquet(columns), OFFERS, "parquet")
    assert rows_of(run) == []
    assert [(refusal.field, refusal.value) for refusal in run.report().refusals] == [
        ("decided_at", str(2**40 * 1000))
    ]


def test_parquet_days() -> None:
    columns = {
        "customer_id": ["a"],
        "offer_id": ["o1"],
        "decided_at": pa.array([date(2026, 3, 1)]),
        "outcome": ["expired"],
    }
    (row,) = rows_of(open_history(parquet(columns), OFFERS, "parquet"))
    assert row["decided_at"] == datetime(2026, 3, 1, tzinfo=UTC)
