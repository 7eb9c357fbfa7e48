"""Files of suppressions: rows that are refused alone, columns, and repeats."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from profiles.customer import OfferScope
from profiles.errors import ImportFileError
from profiles.importing.propensities import UNKNOWN_REASON
from profiles.importing.run import open_suppressions
from profiles.importing.suppressions import CLEAN_SCHEMA, NOT_A_LIST_ID
from profiles.store_bulk import suppression_rows
from tests.support.import_files import rows_of


def anything(_: OfferScope) -> None:
    """Find nothing wrong with a scope."""


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        (",l,r,", "customer_id", "is empty"),
        ("c,,r,", "list_id", "is empty"),
        ("c,a/b,r,", "list_id", NOT_A_LIST_ID),
        ("c,l,,", "reason", "is empty"),
        (f"c,l,{'x' * 201},", "reason", "is longer than 200 characters"),
    ],
)
def test_a_bad_entry_is_refused_alone(row: str, field: str, reason: str) -> None:
    data = f"customer_id,list_id,reason,until\na,l,r,2026-01-01T00:00:00Z\n{row}\nb,l,r,\n"
    run = open_suppressions(data.encode(), anything, "csv")
    assert rows_of(run) == [
        {
            "customer_id": "a",
            "list_id": "l",
            "reason": "r",
            "until": datetime(2026, 1, 1, tzinfo=UTC),
            "scope": None,
            "reason_id": None,
        },
        {"customer_id": "b", "list_id": "l", "reason": "r", "until": None, "scope": None, "reason_id": None},
    ]
    (refusal,) = run.report().refusals
    assert (refusal.row, refusal.field, refusal.reason) == (2, field, reason)


def test_the_end_may_be_left_out() -> None:
    run = open_suppressions(b"list_id,customer_id,reason\nl,a,r\n", anything, "csv")
    assert [row["until"] for row in rows_of(run)] == [None]


@pytest.mark.parametrize("header", ["customer_id,list_id", "customer_id,list_id,reason,why"])
def test_columns_that_are_missing_or_mean_nothing(header: str) -> None:
    with pytest.raises(ImportFileError):
        open_suppressions(f"{header}\n".encode(), anything, "csv")


def test_of_repeats_the_last_counts() -> None:
    rows = [("a", "l", "1"), ("b", "l", "2"), ("a", "m", "3"), ("a", "l", "4")]
    columns = [pa.array([row[n] for row in rows]) for n in range(3)]
    batch = pa.RecordBatch.from_arrays(
        [*columns, *(pa.nulls(4, CLEAN_SCHEMA.field(n).type) for n in (3, 4, 5))], schema=CLEAN_SCHEMA
    )
    found = [
        (row["customer_id"], row["list_id"], row["reason"]) for row in suppression_rows(batch).to_pylist()
    ]
    assert found == [("b", "l", "2"), ("a", "m", "3"), ("a", "l", "4")]


def test_a_scope_is_json_and_a_bad_one_is_refused_alone() -> None:
    rows = [
        """a,l,r,"{""except_goals"": [""serve""]}\"""",
        "b,l,r,",
        "c,l,r,serve",
        """d,l,r,"{""goal"": [""serve""]}\"""",
        """e,l,r,"{""goals"": ""serve""}\"""",
        """f,l,r,"{""groups"": [""crads""]}\"""",
    ]

    def check(scope: OfferScope) -> str | None:
        return "scope.groups: there is no group 'crads'" if "crads" in scope.groups else None

    run = open_suppressions("\n".join(["customer_id,list_id,reason,scope", *rows]).encode(), check, "csv")
    assert [(row["customer_id"], row["scope"]) for row in rows_of(run)] == [
        ("a", '{"except_goals":["serve"]}'),
        ("b", None),
    ]
    refused = {refusal.row: (refusal.field, refusal.reason) for refusal in run.report().refusals}
    assert {field for field, _ in refused.values()} == {"scope"}
    assert "there are goals, groups" in refused[4][1]
    assert refused[5][1] == "goals must be a list of texts"
    assert refused[6][1] == "scope.groups: there is no group 'crads'"


@pytest.mark.parametrize("header", ["customer_id,list_id,reason_id", "reason,customer_id,list_id,reason_id"])
def test_a_reason_of_the_catalogue_is_in_its_own_words_or_in_others(header: str) -> None:
    words = "his words," if header.startswith("reason,") else ""
    nothing = "," if words else ""
    rows = [f"{words}a,l,peace", f"{nothing}b,l,peace", f"{words}c,l,pace", f"{nothing}d,l,", f"{words}e,l,"]
    reasons = {"peace": "Leave in peace"}
    run = open_suppressions("\n".join([header, *rows]).encode(), anything, "csv", reasons)
    found = {row["customer_id"]: (row["reason_id"], row["reason"]) for row in rows_of(run)}
    named = ("peace", "Leave in peace")
    told = {"a": ("peace", "his words"), "b": named, "e": (None, "his words")}
    assert found == (told if words else {"a": named, "b": named})
    refused = {refusal.row: (refusal.field, refusal.reason) for refusal in run.report().refusals}
    assert refused[3] == ("reason_id", UNKNOWN_REASON)
    assert refused[4] == ("reason", "is empty")
