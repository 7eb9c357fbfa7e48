"""Notes that agents write on customers: text, author, time, and what the contact was about.

A note on a visitor who has signed in is the customer's: which that is, is looked up in the statement that stores it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from profiles.customer_id import checked_id
from profiles.privacy.store_erasures import LOCK_STORING, refuse_erased
from profiles.store import LOCK_ALIASES, STANDS_FOR
from storage.postgres import transaction

_COLUMNS = "note_id, text, reason, decision_id, author, author_id, written_at"
_ADD = text(f"""
INSERT INTO customer_notes (customer_id, text, reason, decision_id, author, author_id)
VALUES (:customer_id, :text, :reason, :decision_id, :author, :author_id) RETURNING {_COLUMNS}
""")
_READ = text(f"""
SELECT {_COLUMNS} FROM customer_notes
WHERE customer_id = :customer_id AND note_id < coalesce(:before, 9223372036854775807)
ORDER BY note_id DESC LIMIT :limit
""")
_AUTHOR = text("SELECT author_id FROM customer_notes WHERE customer_id = :customer_id AND note_id = :note_id")
_DELETE = text("DELETE FROM customer_notes WHERE note_id = :note_id")
_MOVE = text("UPDATE customer_notes SET customer_id = :customer_id WHERE customer_id = :alias")


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it is stored. ``author_id``: whose keys, or which person at a provider, ``author`` was the name of."""

    note_id: int
    text: str
    reason: str
    decision_id: str | None
    author: str
    author_id: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class NoteStore:
    """Notes in Postgres. Methods raise ``InvalidCustomer`` and ``PostgresUnavailable``."""

    engine: AsyncEngine

    async def add(
        self, customer_id: str, content: str, reason: str, decision_id: str | None, author: tuple[str, str]
    ) -> Note:
        """Store a note. ``author``: name and id. Raises ``ErasedCustomer`` for who is kept out."""
        values = {"text": content, "reason": reason, "decision_id": decision_id}
        name, author_id = author
        async with transaction(self.engine) as connection:
            await connection.execute(LOCK_STORING)
            await connection.execute(LOCK_ALIASES)
            owner = await _owner(connection, customer_id)
            await refuse_erased(connection, owner)
            values |= {"customer_id": owner, "author": name, "author_id": author_id}
            return _note((await connection.execute(_ADD, values)).one())

    async def page(self, customer_id: str, before: int | None, limit: int) -> list[Note]:
        """Read the newest notes on a customer, before the one of the number ``before``."""
        async with transaction(self.engine) as connection:
            values = {"customer_id": await _owner(connection, customer_id), "before": before, "limit": limit}
            return [_note(row) for row in await connection.execute(_READ, values)]

    async def author_of(self, customer_id: str, note_id: int) -> str | None:
        """Read the id of a note's author; ``None`` if there is no such note on the customer."""
        async with transaction(self.engine) as connection:
            values = {"customer_id": await _owner(connection, customer_id), "note_id": note_id}
            found = await connection.scalar(_AUTHOR, values)
            return None if found is None else str(found)

    async def delete(self, note_id: int) -> bool:
        """Delete a note; False if there is no such one."""
        async with transaction(self.engine) as connection:
            return (await connection.execute(_DELETE, {"note_id": note_id})).rowcount > 0


async def move_notes(connection: AsyncConnection, alias: str, customer_id: str) -> None:
    """Make all notes on a visitor the customer's, in the transaction that notes the alias."""
    await connection.execute(_MOVE, {"alias": alias, "customer_id": customer_id})


async def _owner(connection: AsyncConnection, customer_id: str) -> str:
    owner = await connection.scalar(STANDS_FOR, {"customer_id": checked_id(customer_id)})
    assert isinstance(owner, str)
    return owner


def _note(row: Any) -> Note:
    return Note(**row._mapping)
