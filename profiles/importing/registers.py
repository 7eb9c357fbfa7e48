"""Checks the rows of a file of entries in registers: hashes of persons who must not be contacted."""

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from profiles.importing import columns
from profiles.importing.mistakes import Mistakes
from profiles.importing.problems import Problems
from profiles.importing.propensities import require_columns

DIGEST = r"^[0-9A-Fa-f]{64}$"
NOT_A_DIGEST = "must be a SHA-256 in hexadecimal: 64 digits"
UNKNOWN_REGISTER = "is not a register: create it first (PUT /v1/registers/{register_id})"
CLEAN_SCHEMA = pa.schema(
    [("register_id", pa.string()), ("digest", pa.string()), ("until", pa.timestamp("us", tz="UTC"))]
)
_COLUMNS = {
    "register_id": "names the register of each row",
    "digest": "is the hash of the person's normalised value, salted, in hexadecimal",
}


class RegisterCleaner:
    """Checks entries against the registers that exist."""

    kind = "registers"

    def __init__(self, schema: pa.Schema, known_registers: Collection[str]) -> None:
        """Raises ``ImportFileError`` for missing, unknown or unusable columns."""
        mistakes = Mistakes()
        mistakes.of(require_columns, schema, _COLUMNS, ("until",))
        for field in _COLUMNS:
            mistakes.of(columns.require_text, schema, field)
        mistakes.raise_all()
        self._registers = pa.array(sorted(known_registers), pa.string())
        self._has_until = "until" in schema.names

    def clean(self, batch: pa.RecordBatch, problems: Problems) -> pa.RecordBatch:
        """Bring all rows into ``CLEAN_SCHEMA``; those that ``problems`` refuses hold anything."""
        register_id = columns.as_text(batch["register_id"])
        known = columns.flags(pc.is_in(register_id, self._registers))
        problems.refuse(~known, "register_id", UNKNOWN_REGISTER, register_id)
        digest = columns.as_text(batch["digest"])
        problems.refuse(
            ~columns.flags(pc.match_substring_regex(digest, DIGEST)), "digest", NOT_A_DIGEST, digest
        )
        until = pa.nulls(len(batch), CLEAN_SCHEMA.field("until").type)
        if self._has_until:
            values, present = columns.instants(problems, "until", batch["until"])
            until = pa.array(values, CLEAN_SCHEMA.field("until").type, mask=~present)
        return pa.RecordBatch.from_arrays([register_id, digest, until], schema=CLEAN_SCHEMA)
