"""Files of history: rows that are refused, and dates in every form."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from profiles.errors import ImportFileError
from profiles.importing.propensities import UNKNOWN_REASON
from profiles.importing.run import open_history
from tests.support.import_files import OFFERS, parquet, rows_of

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
            "reason_id": None,
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


def test_reasons_are_those_of_the_catalogue() -> None:
    rows = [
        f"c{n},o1,2026-03-01T10:00:00Z,rejected,{reason}" for n, reason in enumerate(("dear", "deer", ""))
    ]
    data = "\n".join([f"{HISTORY},reason_id", *rows]).encode()
    run = open_history(data, OFFERS, "csv", reasons={"dear"})
    assert [(row["customer_id"], row["reason_id"]) for row in rows_of(run)] == [("c0", "dear"), ("c2", None)]
    (refused,) = run.report().refusals
    assert (refused.row, refused.field, refused.reason) == (2, "reason_id", UNKNOWN_REASON)
