"""Checks the rows of a file of consents and objections, each with source, time and proof."""

from collections.abc import Collection
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profiles.consents import unknown_channel
from profiles.customer import ANY_CHANNEL
from profiles.importing import columns
from profiles.importing.mistakes import Mistakes
from profiles.importing.problems import Problems
from profiles.importing.propensities import require_columns
from profiles.limits import EMPTY, IS_VISITOR, MAX_NAME_CHARS, VISITOR_PREFIX
from profiles.privacy.consent_records import (
    ENDS_BEFORE,
    ENDS_NOTHING,
    IN_THE_FUTURE,
    KINDS,
    MAX_AHEAD,
    MAX_PROOF_CHARS,
    MAX_SOURCE_CHARS,
)

NOT_A_KIND = "is neither consent nor objection"
NOT_GIVEN_OR_NOT = (
    "is neither true nor false: true for what is given, false for a consent that is withdrawn or an objection that is"
    " lifted"
)
_TIME = pa.timestamp("us", tz="UTC")
CLEAN_SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("kind", pa.string()),
        ("purpose", pa.string()),
        ("channel", pa.string()),
        ("given", pa.bool_()),
        ("at", _TIME),
        ("source", pa.string()),
        ("proof", pa.string()),
        ("expires_at", _TIME),
    ]
)
_COLUMNS = {
    "customer_id": "names the customer of each row",
    "purpose": "names the purpose of each consent or objection",
    "channel": "names the channel, * for all",
    "given": "says whether it is given (true), or withdrawn or lifted (false)",
}
_OTHERS = ("kind", "at", "source", "proof", "expires_at")


class ConsentCleaner:
    """Checks consents and objections against the channels that exist."""

    kind = "consents"

    def __init__(self, schema: pa.Schema, channels: Collection[str], now: datetime) -> None:
        """Raises ``ImportFileError`` for missing, unknown or unusable columns."""
        mistakes = Mistakes()
        mistakes.of(require_columns, schema, _COLUMNS, _OTHERS)
        for field in ("customer_id", "purpose", "channel", "kind", "source", "proof"):
            mistakes.of(columns.require_text, schema, field)
        if "given" in schema.names:
            type_ = columns.value_type(schema.field("given").type)
            is_flag = columns.is_text(type_) or pa.types.is_boolean(type_)
            mistakes.of(columns.require, schema, "given", "true or false", is_flag)
        mistakes.raise_all()
        self._channels = channels
        self._now_us = (now - columns.EPOCH) // timedelta(microseconds=1)

    def clean(self, batch: pa.RecordBatch, problems: Problems) -> pa.RecordBatch:
        """Bring all rows into ``CLEAN_SCHEMA``; those that ``problems`` refuses hold anything."""
        customer_id = columns.customer_ids(problems, "customer_id", batch["customer_id"])
        of_visitors = columns.flags(pc.starts_with(customer_id, VISITOR_PREFIX, ignore_case=True))
        problems.refuse(of_visitors, "customer_id", IS_VISITOR, customer_id)
        purpose = columns.as_text(batch["purpose"])
        problems.refuse(pc.binary_length(purpose).to_numpy() == 0, "purpose", EMPTY, purpose)
        columns.check_text(problems, "purpose", purpose, MAX_NAME_CHARS)
        channel = columns.as_text(batch["channel"])
        known = columns.flags(pc.is_in(channel, pa.array([ANY_CHANNEL, *self._channels], pa.string())))
        problems.refuse(~known, "channel", unknown_channel(self._channels), channel)
        kind = self._text(batch, "kind", KINDS[0])
        problems.refuse(
            ~columns.flags(pc.is_in(kind, pa.array(KINDS, pa.string()))), "kind", NOT_A_KIND, kind
        )
        said = pc.ascii_lower(columns.as_text(batch["given"]))
        problems.refuse(
            ~columns.flags(pc.is_in(said, pa.array(["true", "false"]))), "given", NOT_GIVEN_OR_NOT, said
        )
        given = pc.equal(said, "true")
        source, proof = self._text(batch, "source"), self._text(batch, "proof")
        columns.check_text(problems, "source", source, MAX_SOURCE_CHARS)
        columns.check_text(problems, "proof", proof, MAX_PROOF_CHARS)
        consented = columns.flags(pc.and_(given, pc.equal(kind, "consent")))
        at, expires_at = self._times(batch, problems, consented)
        arrays = [customer_id, kind, purpose, channel, given, at, source, proof, expires_at]
        return pa.RecordBatch.from_arrays(arrays, schema=CLEAN_SCHEMA)

    def _times(
        self, batch: pa.RecordBatch, problems: Problems, consented: np.typing.NDArray[np.bool_]
    ) -> tuple[pa.Array, pa.Array]:
        at, is_timed = self._instants(batch, problems, "at")
        ahead_us = MAX_AHEAD // timedelta(microseconds=1)
        late = is_timed & (at > self._now_us + ahead_us)
        expires_at, ends = self._instants(batch, problems, "expires_at")
        if late.any():
            problems.refuse(late, "at", IN_THE_FUTURE, batch["at"])
        if ends.any():
            unsaid = ("kind", "given")
            problems.refuse(ends & ~consented, "expires_at", ENDS_NOTHING, batch["expires_at"], unsaid)
            early = ends & (expires_at <= np.where(is_timed, at, self._now_us))
            problems.refuse(early, "expires_at", ENDS_BEFORE, batch["expires_at"], unless=("at",))
        return pa.array(at, _TIME, mask=~is_timed), pa.array(expires_at, _TIME, mask=~ends)

    @staticmethod
    def _instants(
        batch: pa.RecordBatch, problems: Problems, field: str
    ) -> tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.bool_]]:
        if field not in batch.schema.names:
            return np.zeros(len(batch), np.int64), np.zeros(len(batch), np.bool_)
        return columns.instants(problems, field, batch[field])

    @staticmethod
    def _text(batch: pa.RecordBatch, field: str, absent: str = "") -> pa.StringArray:
        if field not in batch.schema.names:
            return pa.array([absent] * len(batch), pa.string())
        text = columns.as_text(batch[field])
        return pc.if_else(pc.equal(text, ""), absent, text) if absent else text
