"""Rows of an import as they are staged for Postgres."""

import pyarrow as pa

from profiles.importing import customers, propensities
from profiles.store_bulk import customer_rows, propensity_rows, stage


def test_parts_have_each_customer_once() -> None:
    clean = pa.RecordBatch.from_arrays(
        [pa.array(["b", "a", "b"]), pa.array(["o1", "o1", "o2"]), pa.array([0.5, 1.0, 0.0], pa.float32())],
        schema=propensities.CLEAN_SCHEMA,
    )
    (part,) = stage(propensity_rows(clean))
    assert part.customer_ids == ["b", "a"]
    assert part.csv == b'"b","{""o1"":0.5,""o2"":0}"\n"a","{""o1"":1}"\n'


def test_sliced_batches_are_staged_right() -> None:
    rows = [
        {
            "customer_id": i,
            "attributes": "{}",
            "indicators": "{}",
            "holdings": [i, i],
            "interests": "{}",
            "consents": "{}",
            "consent_changes": "{}",
        }
        for i in "abcbd"
    ]
    clean = pa.RecordBatch.from_pylist(rows, customers.CLEAN_SCHEMA).slice(1, 3)
    assert customer_rows(clean).select(["customer_id", "holdings"]).to_pylist() == [
        {"customer_id": "c", "holdings": '{"c","c"}'},
        {"customer_id": "b", "holdings": '{"b","b"}'},
    ]
