"""Erasing what Postgres holds on a person beside the log, and remembering that it was asked for, without an id.

Who was erased stands in ``erased_customers`` by a keyed hash of the id. A person who is kept out is not stored again,
and counts as suppressed: should a caller name the id, nothing is offered but what the law or a contract asks for.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from profiles.customer_id import checked_id
from profiles.errors import ErasedCustomer
from profiles.privacy.store_actions import note_action
from profiles.store_cache import ProfileCache
from storage.locks import ERASING_LOCK
from storage.postgres import postgres_errors, transaction

WRITE_TIMEOUT_S = 8.0
TABLES = ("customers", "consent_records", "propensities", "suppressions", "customer_notes", "lifted_signals")
"""Tables whose rows are one customer's, and go with the customer."""

LOCK_STORING = text(f"SELECT pg_advisory_xact_lock_shared({ERASING_LOCK})")
"""Held by whoever stores customers, until the end of the transaction."""
_LOCK_ERASING = text(f"SELECT pg_advisory_xact_lock({ERASING_LOCK})")
_KEEP_OUT = text(
    "INSERT INTO erased_customers (subject) VALUES (nb_subject(:customer_id)) ON CONFLICT DO NOTHING"
)
_READMIT = text("DELETE FROM erased_customers WHERE subject = nb_subject(:customer_id)")
_IS_ERASED = text("SELECT EXISTS (SELECT FROM erased_customers WHERE subject = nb_subject(:customer_id))")
_ALL = text("SELECT subject, (SELECT key FROM privacy_key) AS key FROM erased_customers")


async def refuse_erased(connection: AsyncConnection, customer_id: str) -> None:
    """Raise ``ErasedCustomer`` if a customer was erased and is kept out; in the transaction that would store one."""
    if await connection.scalar(_IS_ERASED, {"customer_id": customer_id}):
        raise ErasedCustomer(customer_id)


@dataclass(frozen=True, slots=True)
class ErasedIds:
    """The ids that are kept out, as hashes with a key."""

    subjects: frozenset[bytes]
    key: bytes

    def __contains__(self, customer_id: object) -> bool:
        return sha256(self.key + str(customer_id).encode()).digest() in self.subjects


@dataclass(frozen=True, slots=True)
class ErasureStore:
    """Erases profiles, keeps ids out, and lets them in again. Methods raise ``InvalidCustomer`` and ``Unavailable``."""

    engine: AsyncEngine
    cache: ProfileCache

    async def erase(
        self, customer_id: str, *, keep_out: bool, tables: Sequence[str] = TABLES
    ) -> dict[str, int]:
        """Delete a customer's rows; returns how many, by table. When this has returned, no decision uses them.

        ``tables``: of ``TABLES`` those that are meant. ``keep_out``: nothing is stored of this id any more.
        """
        values = {"customer_id": checked_id(customer_id)}
        deleted = {}
        async with (
            self.cache.changing([values["customer_id"]]),
            postgres_errors("erase the customer in Postgres"),
            asyncio.timeout(WRITE_TIMEOUT_S),
            self.engine.begin() as connection,
        ):
            await connection.execute(_LOCK_ERASING)
            for table in tables:
                result = await connection.execute(
                    text(f"DELETE FROM {table} WHERE customer_id = :customer_id"), values
                )
                deleted[table] = result.rowcount
            if keep_out:
                await connection.execute(_KEEP_OUT, values)
        return deleted

    async def readmit(self, customer_id: str, author: str, reason: str) -> bool:
        """Let an id that is kept out be stored again; False if it is not kept out."""
        customer_id = checked_id(customer_id)
        async with (
            self.cache.changing([customer_id]),
            postgres_errors("let the customer in again in Postgres"),
            asyncio.timeout(WRITE_TIMEOUT_S),
            self.engine.begin() as connection,
        ):
            found = await connection.execute(_READMIT, {"customer_id": customer_id})
            if found.rowcount:
                await note_action(connection, "readmitted", customer_id, author, reason, {})
            return bool(found.rowcount)

    async def erased_ids(self) -> ErasedIds | None:
        """Read all that are kept out, for a file whose rows are compared with them; ``None`` if there are none."""
        async with transaction(self.engine) as connection:
            rows = (await connection.execute(_ALL)).all()
        return ErasedIds(frozenset(bytes(row.subject) for row in rows), bytes(rows[0].key)) if rows else None


def staged_ids_that_were_erased(table: str) -> str:
    """Make the statement that deletes rows of a staged table whose customers are kept out."""
    return (
        f"DELETE FROM {table} WHERE EXISTS (SELECT FROM erased_customers)"
        " AND nb_subject(customer_id) IN (SELECT subject FROM erased_customers)"
    )
