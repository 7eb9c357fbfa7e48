"""Checks the rows of a file of customers."""

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profiles.declared import WISHES
from profiles.errors import ImportFileError
from profiles.importing import columns, json_text
from profiles.importing.attribute_columns import attribute, numbers
from profiles.importing.consent_columns import consents_and_changes
from profiles.importing.mistakes import Mistakes
from profiles.importing.problems import Problems
from profiles.limits import IS_VISITOR, MAX_ENTRIES, MAX_NAME_CHARS, VISITOR_PREFIX, text_problem

CLEAN_SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("attributes", pa.string()),
        ("indicators", pa.string()),
        ("holdings", pa.list_(pa.string())),
        ("interests", pa.string()),
        ("consents", pa.string()),
        ("consent_changes", pa.string()),
        ("household_id", pa.string()),
    ]
)
"""The schema of cleaned batches. Apart from the id and ``holdings``, columns are JSON objects as text.

``consents`` are those of a customer without a record, ``consent_changes`` what becomes of those that there are.
``household_id`` is empty for none, and null where the file does not say.
"""

KINDS = ("attributes", "indicators", "interests", "consents", "objections")
PLAIN = ("customer_id", "holdings", "household_id")
"""Columns that are a field of the customer by themselves."""


class CustomerCleaner:
    """Turns columns into the parts of a customer."""

    kind = "customers"

    def __init__(
        self,
        schema: pa.Schema,
        typed_cells: bool,
        channels: Collection[str] | None = None,
        types: Mapping[str, str] | None = None,
    ) -> None:
        """Sorts the columns of a file by what they mean. Raises ``ImportFileError``.

        ``channels``: those that consents and objections may name; ``None``: any. ``types``: those that the vocabulary
        declares for attributes, by name.
        """
        mistakes = Mistakes()
        if "customer_id" not in schema.names:
            mistakes.note(
                "the column 'customer_id' is missing: it names the customer of each row", "customer_id"
            )
        self._typed_cells = typed_cells
        self._channels = channels
        self._types = {**(types or {}), **WISHES}
        self._columns: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        for field in schema.names:
            if field not in PLAIN:
                mistakes.of(self._place, field)
        self._check_types(schema, mistakes)
        mistakes.raise_all()

    def clean(self, batch: pa.RecordBatch, problems: Problems) -> pa.RecordBatch:
        """Bring all rows into ``CLEAN_SCHEMA``; those that ``problems`` refuses hold anything."""
        customer_id = columns.customer_ids(problems, "customer_id", batch["customer_id"])
        of_visitors = columns.flags(pc.starts_with(customer_id, VISITOR_PREFIX, ignore_case=True))
        problems.refuse(of_visitors, "customer_id", IS_VISITOR, customer_id)
        objects = {
            "attributes": self._attributes(batch, problems),
            "indicators": self._numbers("indicators", batch, problems),
            "interests": self._numbers("interests", batch, problems),
        }
        consents, changes = consents_and_changes(
            problems, batch, self._columns["consents"], self._columns["objections"], self._channels
        )
        if "holdings" in batch.schema.names:
            holdings = columns.lists(problems, "holdings", batch["holdings"])
        else:
            holdings = pa.ListArray.from_arrays(np.zeros(len(batch) + 1, np.int32), pa.array([], pa.string()))
        if "household_id" in batch.schema.names:
            household_id = columns.customer_ids(
                problems, "household_id", batch["household_id"], optional=True
            )
        else:
            household_id = pa.nulls(len(batch), pa.string())
        arrays = {
            "customer_id": customer_id,
            "holdings": holdings,
            "consents": consents,
            "consent_changes": changes,
            "household_id": household_id,
            **objects,
        }
        return pa.RecordBatch.from_arrays([arrays[name] for name in CLEAN_SCHEMA.names], schema=CLEAN_SCHEMA)

    def _place(self, field: str) -> None:
        kind, dot, name = field.partition(".")
        if field in KINDS:
            raise ImportFileError(f"write the column '{field}' as one column each: '{field}.<name>'", field)
        # A column without one of the kinds before a point is an attribute, point or not.
        if not dot or kind not in KINDS:
            kind, name = "attributes", field
        problem = text_problem(name, MAX_NAME_CHARS) if name else "has no name after the point"
        if problem:
            raise ImportFileError(f"the column '{field[:MAX_NAME_CHARS]}' {problem}: rename it", field)
        if name in self._columns[kind]:
            raise ImportFileError(
                f"'{field}' and '{self._columns[kind][name]}' are the same: remove one", field
            )
        if len(self._columns[kind]) == MAX_ENTRIES:
            raise ImportFileError(f"there are more than {MAX_ENTRIES} columns of {kind}: remove some")
        self._columns[kind][name] = field

    def _check_types(self, schema: pa.Schema, mistakes: Mistakes) -> None:
        mistakes.of(columns.require_text, schema, "customer_id")
        mistakes.of(columns.require_text, schema, "household_id")
        for field in self._columns["attributes"].values():
            type_ = columns.value_type(schema.field(field).type)
            scalar = columns.is_text(type_) or columns.is_number(type_) or pa.types.is_boolean(type_)
            known = scalar or pa.types.is_temporal(type_)
            mistakes.of(columns.require, schema, field, "text, numbers, booleans or dates", known)
        for kind in ("indicators", "interests"):
            for field in self._columns[kind].values():
                mistakes.of(columns.require_numbers, schema, field)
        holdings = ["holdings"] if "holdings" in schema.names else []
        said = [*self._columns["consents"].values(), *self._columns["objections"].values()]
        for field in [*holdings, *said]:
            type_ = schema.field(field).type
            listed = columns.is_text(columns.value_type(type_)) or columns.is_text_list(type_)
            mistakes.of(columns.require, schema, field, "lists of text, or text separated by |", listed)

    def _attributes(self, batch: pa.RecordBatch, problems: Problems) -> pa.StringArray:
        fields = self._columns["attributes"]
        values = [
            attribute(problems, field, batch[field], self._types.get(name), self._typed_cells)
            for name, field in fields.items()
        ]
        return json_text.objects(list(fields), values, len(batch))

    def _numbers(self, kind: str, batch: pa.RecordBatch, problems: Problems) -> pa.StringArray:
        fields = self._columns[kind]
        values = [numbers(problems, field, batch[field]) for field in fields.values()]
        return json_text.objects(list(fields), values, len(batch))
