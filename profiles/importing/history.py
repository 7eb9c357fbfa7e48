"""Checks the rows of a file of decisions that somebody made before, and what came of them."""

from collections.abc import Collection
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from profiles.importing import columns
from profiles.importing.mistakes import Mistakes
from profiles.importing.problems import Problems
from profiles.importing.propensities import known_offers, known_reasons, propensities, require_columns
from profiles.limits import EMPTY, MAX_ID_CHARS

_INSTANT = pa.timestamp("us", tz="UTC")

CLEAN_SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("offer_id", pa.string()),
        ("decided_at", _INSTANT),
        ("outcome", pa.string()),
        ("occurred_at", _INSTANT),
        ("value", pa.float64()),
        ("placement", pa.string()),
        ("propensity", pa.float32()),
        ("reason_id", pa.string()),
    ]
)
"""The schema of cleaned batches; the last five columns hold null where nothing was given."""

OUTCOMES = ("accepted", "rejected", "expired")
NOT_AN_OUTCOME = "is none of " + ", ".join(OUTCOMES)
TOO_EARLY = "is before decided_at"
EARLIEST_US = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 10**6
TOO_OLD = "lies before the year 2000"
IN_THE_FUTURE = "lies in the future"
MAX_VALUE = 1e15
TOO_LARGE = f"lies outside of -{MAX_VALUE:g} to {MAX_VALUE:g}"

_REQUIRED = {
    "customer_id": "names the customer of each row",
    "offer_id": "names the offer that was made",
    "decided_at": "says when it was made",
    "outcome": "says what came of it: " + ", ".join(OUTCOMES),
}
_OPTIONAL = ("occurred_at", "value", "placement", "propensity", "reason_id")


class HistoryCleaner:
    """Checks past decisions against the offers that exist."""

    kind = "history"

    def __init__(
        self,
        schema: pa.Schema,
        known_offers: Collection[str],
        latest_us: int = columns.MAX_US,
        reasons: Collection[str] = (),
    ) -> None:
        """``latest_us``: when a decision was made at the latest, Unix microseconds. ``reasons``: ids of the catalogue.

        Raises ``ImportFileError`` for missing, unknown or unusable columns."""
        mistakes = Mistakes()
        mistakes.of(require_columns, schema, _REQUIRED, _OPTIONAL)
        self._latest_us = latest_us
        self._reasons = reasons
        self._offers = pa.array(sorted(known_offers), pa.string())
        for field in schema.names:
            type_ = columns.value_type(schema.field(field).type)
            if field in ("value", "propensity"):
                mistakes.of(columns.require_numbers, schema, field)
            elif field in ("decided_at", "occurred_at"):
                dated = pa.types.is_timestamp(type_) or pa.types.is_date(type_)
                known = dated or columns.is_text(type_) or columns.is_number(type_)
                mistakes.of(columns.require, schema, field, "timestamps, text or Unix seconds", known)
            elif field in _REQUIRED or field in _OPTIONAL:
                mistakes.of(columns.require_text, schema, field)
        mistakes.raise_all()

    def clean(self, batch: pa.RecordBatch, problems: Problems) -> pa.RecordBatch:
        """Bring all rows into ``CLEAN_SCHEMA``; those that ``problems`` refuses hold anything."""
        given = {name: batch[name] for name in batch.schema.names}
        absent = pa.nulls(len(batch))
        arrays = {
            "customer_id": columns.customer_ids(problems, "customer_id", given["customer_id"]),
            "offer_id": known_offers(problems, given["offer_id"], self._offers),
            **_instants(problems, given["decided_at"], given.get("occurred_at", absent), self._latest_us),
            "outcome": _outcome(problems, given["outcome"]),
            "value": _value(problems, given.get("value", absent)),
            "placement": _placement(problems, given.get("placement", absent)),
            "propensity": _optional(propensities(problems, given.get("propensity", absent))[0], pa.float32()),
            "reason_id": known_reasons(problems, given.get("reason_id", absent), self._reasons),
        }
        return pa.RecordBatch.from_arrays([arrays[name] for name in CLEAN_SCHEMA.names], schema=CLEAN_SCHEMA)


def _instants(
    problems: Problems, decided: pa.Array, occurred: pa.Array, latest_us: int
) -> dict[str, pa.Array]:
    decided_us, is_decided = columns.instants(problems, "decided_at", decided)
    problems.refuse(~is_decided, "decided_at", EMPTY, decided)
    problems.refuse(is_decided & (decided_us < EARLIEST_US), "decided_at", TOO_OLD, decided)
    problems.refuse(is_decided & (decided_us > latest_us), "decided_at", IN_THE_FUTURE, decided)
    occurred_us, has_occurred = columns.instants(problems, "occurred_at", occurred)
    early = is_decided & has_occurred & (occurred_us < decided_us)
    problems.refuse(early, "occurred_at", TOO_EARLY, occurred, unless=("decided_at",))
    return {
        "decided_at": pa.array(decided_us).cast(_INSTANT),
        "occurred_at": pa.array(occurred_us, mask=~has_occurred).cast(_INSTANT),
    }


def _outcome(problems: Problems, column: pa.Array) -> pa.StringArray:
    outcome = columns.as_text(column)
    known = columns.flags(pc.is_in(outcome, value_set=pa.array(OUTCOMES)))
    problems.refuse(~known, "outcome", NOT_AN_OUTCOME, outcome)
    return outcome


def _value(problems: Problems, column: pa.Array) -> pa.DoubleArray:
    values = columns.numbers(problems, "value", column)
    problems.refuse(np.abs(values) > MAX_VALUE, "value", TOO_LARGE, column)
    return _optional(values, pa.float64())


def _placement(problems: Problems, column: pa.Array) -> pa.StringArray:
    placement = columns.as_text(column)
    columns.check_text(problems, "placement", placement, MAX_ID_CHARS)
    return pc.if_else(pc.equal(placement, ""), pa.scalar(None, pa.string()), placement)


def _optional(values: NDArray[np.float64], type_: pa.DataType) -> pa.Array:
    return pa.array(values, mask=np.isnan(values)).cast(type_, safe=False)
