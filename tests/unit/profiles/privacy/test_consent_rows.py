"""Files of consents and objections: rows that are refused alone, columns, and what may be left out."""

from datetime import UTC, datetime

import pytest

from profiles.errors import ImportFileError
from profiles.importing.run import ImportRun, open_consents
from profiles.privacy.consent_records import ENDS_BEFORE, ENDS_NOTHING, IN_THE_FUTURE
from profiles.privacy.consent_rows import NOT_A_KIND, NOT_GIVEN_OR_NOT
from tests.support.import_files import parquet, rows_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HEADER = "customer_id,purpose,channel,given,kind,at,source,proof,expires_at"


def opened(data: bytes) -> ImportRun:
    return open_consents(data, ["email", "web"], NOW, "csv")


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        (",ads,email,true,,,,,", "customer_id", "is empty"),
        ("c,,email,true,,,,,", "purpose", "is empty"),
        ("c,ads,email,,,,,,", "given", NOT_GIVEN_OR_NOT),
        ("c,ads,email,1,,,,,", "given", NOT_GIVEN_OR_NOT),
        ("c,ads,email,true,both,,,,", "kind", NOT_A_KIND),
        ("c,ads,email,true,,2026-06-01T00:06:00Z,,,", "at", IN_THE_FUTURE),
        (
            "c,ads,email,true,,soon,,,",
            "at",
            "is not a date: write ISO 8601, such as 2026-03-01T09:30:00Z, or Unix seconds",
        ),
        (f"c,ads,email,true,,,{'x' * 201},,", "source", "is longer than 200 characters"),
        (f"c,ads,email,true,,,,{'x' * 1001},", "proof", "is longer than 1000 characters"),
        ("c,ads,email,true,,,,,2026-05-31", "expires_at", ENDS_BEFORE),
        ("c,ads,email,true,,2026-05-01,,,2026-05-01", "expires_at", ENDS_BEFORE),
        ("c,ads,email,false,consent,,,,2027-01-01", "expires_at", ENDS_NOTHING),
        ("c,ads,email,true,objection,,,,2027-01-01", "expires_at", ENDS_NOTHING),
    ],
)
def test_a_bad_statement_is_refused_alone(row: str, field: str, reason: str) -> None:
    run = opened(
        f"{HEADER}\na,ads,*,true,,,,,\n{row}\nb,ads,web,False,objection,2026-06-01T00:04:00Z,s,p,\n".encode()
    )
    first, last = rows_of(run)
    assert (first["customer_id"], first["kind"], first["channel"], first["given"]) == (
        "a",
        "consent",
        "*",
        True,
    )
    assert (first["at"], first["source"], first["proof"], first["expires_at"]) == (None, "", "", None)
    assert (last["kind"], last["given"], last["source"], last["proof"]) == ("objection", False, "s", "p")
    (refusal,) = run.report().refusals
    assert (refusal.row, refusal.field, refusal.reason) == (2, field, reason)


def test_a_channel_that_does_not_exist_is_refused_with_those_that_do() -> None:
    run = opened(f"{HEADER}\na,ads,fax,true,,,,,\n".encode())
    assert rows_of(run) == []
    (refusal,) = run.report().refusals
    assert refusal.field == "channel"
    assert "email, web" in refusal.reason


def test_all_but_four_columns_may_be_left_out() -> None:
    run = opened(b"given,channel,purpose,customer_id\ntrue,web,ads,a\n")
    (row,) = rows_of(run)
    assert (row["kind"], row["at"], row["expires_at"], row["proof"]) == ("consent", None, None, "")


@pytest.mark.parametrize("header", ["customer_id,purpose,channel", f"{HEADER},why"])
def test_columns_that_are_missing_or_mean_nothing(header: str) -> None:
    with pytest.raises(ImportFileError):
        opened(f"{header}\n".encode())


def test_types_of_parquet_are_taken() -> None:
    columns = {"customer_id": ["a"], "purpose": ["ads"], "channel": ["web"], "given": [True], "at": [NOW]}
    data = parquet(columns)
    (row,) = rows_of(open_consents(data, ["web"], NOW, "parquet"))
    assert (row["given"], row["at"]) == (True, NOW)
    with pytest.raises(ImportFileError, match="given"):
        open_consents(parquet(columns | {"given": [1]}), ["web"], NOW, "parquet")
