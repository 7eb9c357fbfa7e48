"""Columns of consents and objections: what is refused where, and rows of one customer."""

import json

import numpy as np
import pyarrow as pa

from profiles.importing.consent_columns import combine_consents, consents_and_changes
from profiles.importing.problems import Problems


def test_both_columns_of_a_purpose_are_one_statement() -> None:
    batch = pa.RecordBatch.from_pydict(
        {"consents.ads": ["web", "", "web|sms"], "objections.ads": ["sms", "web|sms", "sms"]}
    )
    problems = Problems(np.arange(1, 4), 10)
    entries, changes = consents_and_changes(
        problems, batch, {"ads": "consents.ads"}, {"ads": "objections.ads"}, {"web", "sms"}
    )
    assert [json.loads(row) for row in entries.to_pylist()[:2]] == [
        {"ads": ["web", "!sms"]},
        {"ads": ["!web", "!sms"]},
    ]
    assert json.loads(changes[1].as_py()) == {
        "ads": {"add": ["!web", "!sms"], "drop": ["web", "sms"], "withdraw_all": False}
    }
    (refusal,) = problems.first()
    assert (refusal.row, refusal.field, refusal.value) == (3, "consents.ads", "web|sms")


def test_rows_of_one_customer_add_up_and_those_of_others_stay_apart() -> None:
    batch = pa.RecordBatch.from_pydict({"consents.ads": ["!sms", "web", ""]})
    entries, changes = consents_and_changes(
        Problems(np.arange(1, 4), 10), batch, {"ads": "consents.ads"}, {}, None
    )
    clean = pa.RecordBatch.from_arrays([entries, changes], ["consents", "consent_changes"])
    combined = combine_consents(clean, np.array([0, 1, 0], np.int32))
    assert [json.loads(row) for row in combined["consents"].to_pylist()] == [
        {"ads": ["!sms"]},
        {"ads": ["web"]},
        {"ads": ["!sms"]},
    ]
