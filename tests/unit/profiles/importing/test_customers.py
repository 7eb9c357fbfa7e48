"""Files of customers: rows that are refused, and how the others are read."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from profiles.errors import ImportFileError
from profiles.importing.run import ImportRun, open_customers
from tests.support.import_files import parquet, rows_of


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
