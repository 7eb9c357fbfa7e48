"""Checks the rows of a file of entries in suppression lists."""

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import from_json, to_json

from profiles.customer import OfferScope, read_scope, scope_fields
from profiles.importing import columns
from profiles.importing.mistakes import Mistakes
from profiles.importing.problems import Problems
from profiles.importing.propensities import known_reasons, require_columns
from profiles.limits import EMPTY

MAX_REASON_CHARS = 200
CheckScope = Callable[[OfferScope], str | None]
"""Says what a scope names that there is not; ``None`` if all is there."""
LIST_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
NOT_A_LIST_ID = "must be letters, digits, dots, dashes and underscores, at most 64, a letter or digit first"
CLEAN_SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("list_id", pa.string()),
        ("reason", pa.string()),
        ("until", pa.timestamp("us", tz="UTC")),
        ("scope", pa.string()),
        ("reason_id", pa.string()),
    ]
)
_COLUMNS = {
    "customer_id": "names the customer of each row",
    "list_id": "names the suppression list of each row",
    "reason": "says why the customer must not be contacted",
}


class SuppressionCleaner:
    """Checks entries in suppression lists."""

    kind = "suppressions"

    def __init__(self, schema: pa.Schema, check_scope: CheckScope, reasons: Mapping[str, str]) -> None:
        """``reasons``: the names of those of the catalogue, by id; an entry without words has the name for them.

        Raises ``ImportFileError`` for missing, unknown or unusable columns.
        """
        self._check_scope = check_scope
        self._reasons = reasons
        self._has_reason_id = "reason_id" in schema.names
        self._has_reason = "reason" in schema.names or not self._has_reason_id
        required = {name: why for name, why in _COLUMNS.items() if name != "reason" or self._has_reason}
        mistakes = Mistakes()
        mistakes.of(require_columns, schema, required, ("until", "scope", "reason_id", "reason"))
        for field in (*required, "reason_id", "scope"):
            mistakes.of(columns.require_text, schema, field)
        mistakes.raise_all()
        self._has_until = "until" in schema.names
        self._has_scope = "scope" in schema.names

    def clean(self, batch: pa.RecordBatch, problems: Problems) -> pa.RecordBatch:
        """Bring all rows into ``CLEAN_SCHEMA``; those that ``problems`` refuses hold anything."""
        customer_id = columns.customer_ids(problems, "customer_id", batch["customer_id"])
        list_id = columns.as_text(batch["list_id"])
        problems.refuse(pc.binary_length(list_id).to_numpy() == 0, "list_id", EMPTY, list_id)
        named = columns.flags(pc.match_substring_regex(list_id, LIST_ID))
        problems.refuse(~named, "list_id", NOT_A_LIST_ID, list_id)
        reason_id, names = self._reason_ids(problems, batch)
        reason = names
        if self._has_reason:
            told = columns.as_text(batch["reason"])
            reason = pc.if_else(pc.equal(told, ""), names, told)
        absent = pc.binary_length(reason).to_numpy() == 0
        problems.refuse(absent, "reason", EMPTY, reason, unless=("reason_id",))
        columns.check_text(problems, "reason", reason, MAX_REASON_CHARS)
        until = pa.nulls(len(batch), CLEAN_SCHEMA.field("until").type)
        if self._has_until:
            values, present = columns.instants(problems, "until", batch["until"])
            until = pa.array(values, CLEAN_SCHEMA.field("until").type, mask=~present)
        scope = pa.nulls(len(batch), pa.string())
        if self._has_scope:
            scope = _scopes(problems, columns.as_text(batch["scope"]), self._check_scope)
        arrays = [customer_id, list_id, reason, until, scope, reason_id]
        return pa.RecordBatch.from_arrays(arrays, schema=CLEAN_SCHEMA)

    def _reason_ids(self, problems: Problems, batch: pa.RecordBatch) -> tuple[pa.StringArray, pa.StringArray]:
        """Return the ids of reasons, null where there are none, and the reasons' names, empty where there are none."""
        if not self._has_reason_id:
            return pa.nulls(len(batch), pa.string()), pa.array([""] * len(batch), pa.string())
        reason_id = known_reasons(problems, batch["reason_id"], self._reasons)
        names = pa.array([self._reasons.get(one, "") for one in reason_id.to_pylist()], pa.string())
        return reason_id, names


def _scopes(problems: Problems, text: pa.StringArray, check: CheckScope) -> pa.StringArray:
    """Check scopes, JSON as over HTTP; an empty one is none: the entry is about everything. Each is read once."""
    codes = text.dictionary_encode()
    read: list[str | None] = []
    wrong: dict[int, str] = {}
    for place, value in enumerate(codes.dictionary.to_pylist()):
        read.append(None)
        if value:
            try:
                scope = read_scope(from_json(value))
            except ValueError as error:
                wrong[place] = str(error)
                continue
            read[place] = to_json(scope_fields(scope)).decode()
            if (missing := check(scope)) is not None:
                wrong[place] = missing
    places = codes.indices.to_numpy()
    for place, reason in wrong.items():
        problems.refuse(places == place, "scope", reason, text)
    return pa.array(read, pa.string()).take(codes.indices)
