"""Cleaned batches in the form in which Postgres takes them: rows by customer, as CSV for ``COPY``."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from profiles.importing import json_text

MAX_CUSTOMERS = 20_000
"""Customers changed in one transaction, which should be over well before the first tombstones expire."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows for one transaction: the customers whom it changes, and the CSV."""

    customer_ids: Sequence[str]
    csv: bytes


def stage(table: pa.Table) -> Iterator[Staged]:
    """Write ``table``, with one row for each ``customer_id``, in parts of at most ``MAX_CUSTOMERS`` rows."""
    options = pa_csv.WriteOptions(include_header=False, quoting_style="all_valid")
    for at in range(0, table.num_rows, MAX_CUSTOMERS):
        part = table.slice(at, MAX_CUSTOMERS)
        out = io.BytesIO()
        pa_csv.write_csv(part, out, options)
        yield Staged(part["customer_id"].to_pylist(), out.getvalue())


def customer_rows(clean: pa.RecordBatch) -> pa.Table:
    """Make the rows of customers: the last row of each, with ``holdings`` as an array literal."""
    codes = clean["customer_id"].dictionary_encode()
    if len(codes.dictionary) < clean.num_rows:
        last = np.zeros(len(codes.dictionary), np.int64)
        np.maximum.at(last, codes.indices.to_numpy(), np.arange(clean.num_rows))
        clean = clean.take(pa.array(np.sort(last)))
    at = clean.schema.get_field_index("holdings")
    return pa.Table.from_batches([clean.set_column(at, "holdings", _array_literals(clean["holdings"]))])


def propensity_rows(clean: pa.RecordBatch) -> pa.Table:
    """Make one row for each customer, with the JSON object of scores. Of repeats ``jsonb`` keeps the last."""
    customers = clean["customer_id"].dictionary_encode()
    codes = customers.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    members = pc.binary_join_element_wise(
        _keys(clean["offer_id"]), clean["propensity"].cast(pa.string()), ""
    ).take(pa.array(order))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes))]).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), members), ",")
    scores = pc.binary_join_element_wise("{", joined, "}", "")
    return pa.table({"customer_id": customers.dictionary, "scores": scores})


def _keys(offer_id: pa.StringArray) -> pa.StringArray:
    offers = offer_id.dictionary_encode()
    return pc.binary_join_element_wise(json_text.strings(offers.dictionary), ":", "").take(offers.indices)


def _array_literals(lists: pa.ListArray) -> pa.StringArray:
    """Write lists of text as Postgres writes arrays: ``{"a","b"}``."""
    items = lists.flatten()
    for special in ("\\", '"'):
        items = pc.replace_substring(items, special, f"\\{special}")
    quoted = pc.binary_join_element_wise('"', items, '"', "")
    lengths = pc.list_value_length(lists).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), quoted), ",")
    return pc.binary_join_element_wise("{", joined, "}", "")
