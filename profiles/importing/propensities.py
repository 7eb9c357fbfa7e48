"""Checks the rows of a file of precomputed propensities."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from profiles.importing import columns
from profiles.importing.mistakes import Mistakes
from profiles.importing.problems import Problems
from profiles.limits import EMPTY

CLEAN_SCHEMA = pa.schema(
    [("customer_id", pa.string()), ("offer_id", pa.string()), ("propensity", pa.float32())]
)

UNKNOWN_OFFER = "is not an offer of the catalogue: create the offer first"
UNKNOWN_REASON = "is not a reason of the catalogue: create it with PUT /v1/reasons/{reason_id}"
OUT_OF_RANGE = "lies outside of 0 to 1"

_COLUMNS = {
    "customer_id": "names the customer of each row",
    "offer_id": "names the offer of each row",
    "propensity": "says how likely the customer is to accept the offer, from 0 to 1",
}


class PropensityCleaner:
    """Checks propensities against the offers that exist."""

    kind = "propensities"

    def __init__(self, schema: pa.Schema, known_offers: Collection[str]) -> None:
        """Raises ``ImportFileError`` for missing, unknown or unusable columns."""
        mistakes = Mistakes()
        mistakes.of(require_columns, schema, _COLUMNS, ())
        mistakes.of(columns.require_text, schema, "customer_id")
        mistakes.of(columns.require_text, schema, "offer_id")
        mistakes.of(columns.require_numbers, schema, "propensity")
        mistakes.raise_all()
        self._offers = pa.array(sorted(known_offers), pa.string())

    def clean(self, batch: pa.RecordBatch, problems: Problems) -> pa.RecordBatch:
        """Bring all rows into ``CLEAN_SCHEMA``; those that ``problems`` refuses hold anything."""
        customer_id = columns.customer_ids(problems, "customer_id", batch["customer_id"])
        offer_id = known_offers(problems, batch["offer_id"], self._offers)
        values, present = propensities(problems, batch["propensity"])
        problems.refuse(~present, "propensity", EMPTY, batch["propensity"])
        return pa.RecordBatch.from_arrays(
            [customer_id, offer_id, pa.array(values.astype(np.float32))], schema=CLEAN_SCHEMA
        )


def require_columns(schema: pa.Schema, required: dict[str, str], optional: Collection[str]) -> None:
    """Raise ``ImportFileError``, of all columns, unless the ``required`` are there, and none but the ``optional``.

    ``required`` maps names to what the column says.
    """
    mistakes = Mistakes()
    for field, purpose in required.items():
        if field not in schema.names:
            mistakes.note(f"the column '{field}' is missing: it {purpose}", field)
    names = ", ".join([*required, *optional])
    for field in schema.names:
        if field not in required and field not in optional:
            mistakes.note(
                f"the column '{field}' has no meaning here: remove it (there can be {names})", field
            )
    mistakes.raise_all()


def known_offers(problems: Problems, column: pa.Array, offers: pa.StringArray) -> pa.StringArray:
    """Clean ids of existing offers; other rows are refused."""
    offer_id = columns.as_text(column)
    known = columns.flags(pc.is_in(offer_id, value_set=offers))
    if not known.all():
        columns.ids(problems, "offer_id", column)  # what is no id at all is refused as such
        problems.refuse(~known, "offer_id", UNKNOWN_OFFER, offer_id)
    return offer_id


def known_reasons(problems: Problems, column: pa.Array, reasons: Collection[str]) -> pa.StringArray:
    """Clean ids of declared reasons, null where there are none; rows with others are refused."""
    reason_id = columns.as_text(column)
    is_given = columns.flags(pc.not_equal(reason_id, ""))
    is_known = columns.flags(pc.is_in(reason_id, value_set=pa.array([*reasons], pa.string())))
    problems.refuse(is_given & ~is_known, "reason_id", UNKNOWN_REASON, reason_id)
    return pc.if_else(pa.array(is_given), reason_id, pa.scalar(None, pa.string()))


def propensities(problems: Problems, column: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Clean numbers in 0..1, shape (n,), and which rows have one. Rows with anything else are refused."""
    values = columns.numbers(problems, "propensity", column)
    present = ~np.isnan(values)
    outside = present & ((values < 0) | (values > 1))
    problems.refuse(outside, "propensity", OUT_OF_RANGE, column)
    return np.where(outside, np.nan, values), present
