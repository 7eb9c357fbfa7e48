"""The trail of what was done with the data of persons: who, when, why and how much, without an id or a fact.

A person stands there as ``nb_subject``, a hash of the id with a key that only the database has: who asks with the id
finds what was done, and the trail itself names nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from profiles.customer_id import checked_id
from storage.postgres import transaction

_NOTE = text("""
INSERT INTO privacy_actions (action, subject, author, reason, details)
VALUES (:action, nb_subject(CAST(:customer_id AS text)), :author, :reason, cast(:details AS jsonb))
""")
_READ = """
SELECT action_id, action, author, reason, details, done_at FROM privacy_actions
WHERE action_id < coalesce(:before, 9223372036854775807) {of_customer} ORDER BY action_id DESC LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class PrivacyAction:
    """One entry of the trail. ``details``: counts, by what was read, changed or removed."""

    action_id: int
    action: str
    author: str
    reason: str
    details: Mapping[str, Any]
    done_at: datetime


async def note_action(
    connection: AsyncConnection,
    action: str,
    customer_id: str | None,
    author: str,
    reason: str,
    details: Mapping[str, Any],
) -> None:
    """Add an entry, in the transaction of ``connection``. ``customer_id``: ``None`` if it is of no single person."""
    values = {"action": action, "customer_id": customer_id, "author": author, "reason": reason}
    await connection.execute(_NOTE, values | {"details": to_json(dict(details)).decode()})


@dataclass(frozen=True, slots=True)
class PrivacyTrail:
    """The trail in Postgres. Methods raise ``PostgresUnavailable``."""

    engine: AsyncEngine

    async def note(
        self, action: str, customer_id: str | None, author: str, reason: str = "", **details: Any
    ) -> None:
        """Add an entry. ``customer_id``: ``None`` for what concerns no single person."""
        async with transaction(self.engine) as connection:
            await note_action(connection, action, customer_id, author, reason, details)

    async def read(self, customer_id: str | None, before: int | None, limit: int) -> list[PrivacyAction]:
        """Read the newest entries before the one of the number ``before``; of a customer, if one is given.

        Raises ``InvalidCustomer``.
        """
        values: dict[str, Any] = {"before": before, "limit": limit}
        if customer_id is not None:
            values["customer_id"] = checked_id(customer_id)
        query = _READ.format(
            of_customer="" if customer_id is None else "AND subject = nb_subject(:customer_id)"
        )
        async with transaction(self.engine) as connection:
            rows = await connection.execute(text(query), values)
            return [PrivacyAction(**row._mapping) for row in rows]
