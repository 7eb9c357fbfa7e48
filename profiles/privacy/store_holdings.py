"""Data that Postgres holds on a person beside the log: record, propensities, suppressions, notes; read or erased."""

from typing import Any

from pydantic_core import from_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.customer_id import checked_id
from storage.postgres import transaction

_RECORD = text("""
SELECT jsonb_build_object('attributes', attributes, 'indicators', indicators, 'holdings', holdings,
                          'interests', interests, 'household_id', household_id,
                          'consents', consents_at(consents, consent_ends, now()))::text AS record, updated_at
FROM customers WHERE customer_id = :customer_id
""")
_PROPENSITIES = text(
    "SELECT scores::text AS scores, updated_at FROM propensities WHERE customer_id = :customer_id"
)
_SUPPRESSIONS = text(
    "SELECT list_id, reason, until, added_at, scope, reason_id FROM suppressions"
    " WHERE customer_id = :customer_id ORDER BY list_id"
)
_LIFTED = text(
    "SELECT signal_id AS signal, to_timestamp(lifted_ms / 1000.0) AS lifted_at FROM lifted_signals"
    " WHERE customer_id = :customer_id ORDER BY signal_id"
)
_CONSENTS = text("""
SELECT kind, purpose, channel, given, stated_at AS at, source, proof, expires_at, before, author, recorded_at
FROM consent_records WHERE customer_id = :customer_id ORDER BY record_id DESC
""")
_NOTES = text("""
SELECT text, reason, decision_id, author, written_at FROM customer_notes WHERE customer_id = :customer_id
ORDER BY note_id DESC
""")
_REGISTERS = text("""
SELECT r.list_id, r.reason, r.until, r.added_at
FROM (SELECT cast(:customer_id AS text) AS customer_id) AS asked LEFT JOIN customers AS c USING (customer_id)
CROSS JOIN LATERAL nb_registered(asked.customer_id, c.attributes) AS r ORDER BY r.list_id
""")


async def read_holdings(engine: AsyncEngine, customer_id: str) -> dict[str, Any]:
    """Read the record, the propensities, the suppressions and the notes of a customer, as they are stored.

    ``record`` and ``propensities`` are ``None`` if there are none. Raises ``InvalidCustomer`` and
    ``PostgresUnavailable``.
    """
    values = {"customer_id": checked_id(customer_id)}
    async with transaction(engine) as connection:
        record = (await connection.execute(_RECORD, values)).first()
        scores = (await connection.execute(_PROPENSITIES, values)).first()
        suppressions = (await connection.execute(_SUPPRESSIONS, values)).all()
        lifted = (await connection.execute(_LIFTED, values)).all()
        consents = (await connection.execute(_CONSENTS, values)).all()
        notes = (await connection.execute(_NOTES, values)).all()
        registers = (await connection.execute(_REGISTERS, values)).all()
    return {
        "record": None if record is None else from_json(record.record) | {"updated_at": record.updated_at},
        "propensities": None
        if scores is None
        else {"scores": from_json(scores.scores), "updated_at": scores.updated_at},
        "consent_records": [dict(row._mapping) for row in consents],
        "suppressions": [dict(row._mapping) for row in suppressions],
        "notes": [dict(row._mapping) for row in notes],
        "lifted_signals": [dict(row._mapping) for row in lifted],
        "registers": [dict(row._mapping) for row in registers],
    }
