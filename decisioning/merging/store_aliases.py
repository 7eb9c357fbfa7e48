"""Aliases in Postgres: which visitor is which customer, since when, and whether all of theirs has been handed over."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.errors import Conflict, Invalid
from profiles.privacy.store_actions import note_action
from profiles.privacy.store_erasures import LOCK_STORING, refuse_erased
from profiles.privacy.store_notes import move_notes
from profiles.store import became
from profiles.store_suppressions import move_suppressions
from storage.locks import ALIASES_LOCK
from storage.postgres import postgres_errors, single_statement, transaction

BATCH_SIZE = 1000
MAX_CHAIN = 16
"""Visitors of whom each became part of the next one; so many look-ups may a decision for the first of them need."""

_LOCK = text(f"SELECT pg_advisory_xact_lock({ALIASES_LOCK})")
# The chain from somebody on, the last of it first; of whom is nobody's alias, only that one.
_CHAIN = text("""
WITH RECURSIVE chain AS (
    SELECT cast(:customer_id AS text) AS customer_id, 0 AS steps
    UNION ALL SELECT a.customer_id, c.steps + 1 FROM aliases a JOIN chain c ON a.alias = c.customer_id
) SELECT customer_id FROM chain ORDER BY steps DESC
""")
# How many aliases lead to somebody, one behind the other.
_DEPTH = text("""
WITH RECURSIVE behind AS (
    SELECT cast(:customer_id AS text) AS alias, 0 AS steps
    UNION ALL SELECT a.alias, b.steps + 1 FROM aliases a JOIN behind b ON a.customer_id = b.alias
) SELECT max(steps) FROM behind
""")
_ALL_OF = text("""
WITH RECURSIVE behind AS (
    SELECT alias, merged_at FROM aliases WHERE customer_id = :customer_id
    UNION ALL SELECT a.alias, a.merged_at FROM aliases a JOIN behind b ON a.customer_id = b.alias
) SELECT alias, merged_at FROM behind ORDER BY merged_at, alias
""")
_OF_ALL = text("""
WITH RECURSIVE behind AS (
    SELECT alias, customer_id AS root FROM aliases WHERE customer_id = ANY(:customers)
    UNION ALL SELECT a.alias, b.root FROM aliases a JOIN behind b ON a.customer_id = b.alias
) SELECT alias, root FROM behind
""")
_REMOVE = text("DELETE FROM aliases WHERE alias = ANY(:names)")
_READ = text("SELECT * FROM aliases WHERE alias = :alias")
_ADD = text(
    "INSERT INTO aliases (alias, customer_id, author, household_id) VALUES (:alias, :customer_id, :author,"
    " (SELECT household_id FROM customers WHERE customer_id = :customer_id)) RETURNING *"
)
_UNFINISHED = text("""
SELECT * FROM aliases WHERE finished_at IS NULL AND merged_at < now() - make_interval(secs => :older_s)
ORDER BY merged_at LIMIT :most
""")
_HOMES = text("""
WITH RECURSIVE behind AS (
    SELECT alias AS name, customer_id, household_id FROM aliases WHERE alias = ANY(:names)
    UNION ALL SELECT b.name, a.customer_id, a.household_id FROM behind b JOIN aliases a ON a.alias = b.customer_id
) SELECT name, household_id FROM behind WHERE household_id IS NOT NULL
""")
_FINISH = text("UPDATE aliases SET finished_at = now() WHERE alias = ANY(:aliases)")


@dataclass(frozen=True, slots=True)
class Alias:
    """``alias`` is ``customer_id``, which may be an alias in its turn.

    ``household_id``: which the customer belonged to then. What the alias was contacted with counts in it.
    """

    alias: str
    customer_id: str
    merged_at: datetime
    household_id: str | None = None


class AliasStore:
    """Reads and writes. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, visitor: str, customer_id: str, author: str) -> tuple[Alias, str, bool]:
        """Note that a visitor is a customer, for good, who gets the notes on the visitor and is on the same
        suppression lists.

        The cached profiles of both must be guarded meanwhile.

        Returns the alias, the customer that it stands for in the end, and whether it is new.

        Raises ``Conflict`` if the visitor is another customer already, or the other way round; ``Invalid`` if both are
        the same; and ``ErasedCustomer`` if the customer was erased and is kept out.
        """
        async with postgres_errors("note the alias in Postgres"), self._engine.begin() as connection:
            await connection.execute(LOCK_STORING)
            await connection.execute(_LOCK)
            await refuse_erased(connection, customer_id)
            chain = await _chain(connection, customer_id)
            found = (await connection.execute(_READ, {"alias": visitor})).one_or_none()
            if visitor == customer_id:
                raise Invalid("visitor_id", "is the one that it is to be merged into")
            if visitor in chain:
                raise Conflict(
                    f"{customer_id!r} was merged into {visitor!r}, which therefore cannot be merged into it"
                )
            if found is not None:
                own = await _chain(connection, visitor)
                if own[0] != chain[0]:
                    raise Conflict(
                        f"{visitor!r} was merged into {own[0]!r}, and cannot be merged into {customer_id!r}, too;"
                        " let the page make up another visitor id for the next person"
                    )
                return _alias(found), own[0], False
            await self._check_length(connection, visitor, len(chain))
            values = {"alias": visitor, "customer_id": chain[0], "author": author}
            added = (await connection.execute(_ADD, values)).one()
            await move_suppressions(connection, {visitor: chain[0]})
            await move_notes(connection, visitor, chain[0])
            await note_action(connection, "merged", chain[0], author, "", {"visitors": 1})
            return _alias(added), chain[0], True

    @staticmethod
    async def _check_length(connection: AsyncConnection, visitor: str, behind: int) -> None:
        depth = await connection.scalar(_DEPTH, {"customer_id": visitor})
        if depth + behind > MAX_CHAIN:
            raise Conflict(
                f"{visitor!r} is the last of {depth} visitors who were merged into each other, and more"
                f" than {MAX_CHAIN} cannot be: merge visitors into the customer, not into each other"
            )

    async def of(self, customer_id: str) -> list[tuple[str, datetime]]:
        """Read all aliases of a customer, those of aliases too, each with the time since when it is one."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_ALL_OF, {"customer_id": customer_id})
            return [(row.alias, row.merged_at) for row in rows]

    async def of_all(self, customers: Sequence[str]) -> dict[str, list[str]]:
        """Read all aliases of several customers, as ``of`` does; those who have none are left out."""
        found: dict[str, list[str]] = {}
        async with transaction(self._engine) as connection:
            for row in await connection.execute(_OF_ALL, {"customers": list(customers)}):
                found.setdefault(row.root, []).append(row.alias)
        return found

    async def became(self, visitors: Collection[str]) -> dict[str, str]:
        """Read who visitors are in the end; those who are nobody else are left out."""
        async with transaction(self._engine) as connection:
            return await became(connection, visitors)

    async def chain(self, customer_id: str) -> list[str]:
        """Read whose alias somebody is, one behind the other, from the customer in the end to themselves."""
        async with transaction(self._engine) as connection:
            return await _chain(connection, customer_id)

    async def homes(self, names: Collection[str]) -> dict[str, str]:
        """Read in whose households contacts of aliases count; those of no household are left out."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_HOMES, {"names": list(names)})
            return {row.name: row.household_id for row in rows}

    async def remove(self, names: Sequence[str]) -> int:
        """Forget aliases; returns how many of these there were."""
        async with postgres_errors("remove aliases in Postgres"), self._engine.begin() as connection:
            return (await connection.execute(_REMOVE, {"names": list(names)})).rowcount

    async def unfinished(self, older_s: float, most: int) -> list[Alias]:
        """Read aliases which nobody has finished, that are older than so many seconds."""
        async with single_statement(self._engine) as connection:
            rows = await connection.execute(_UNFINISHED, {"older_s": older_s, "most": most})
            return [_alias(row) for row in rows]

    async def finish(self, aliases: Sequence[str]) -> None:
        """Note that nothing of these is left to be handed over."""
        async with postgres_errors("note finished aliases in Postgres"), self._engine.begin() as connection:
            await connection.execute(_FINISH, {"aliases": list(aliases)})

    async def all(self) -> AsyncIterator[Sequence[Alias]]:
        """Yield all aliases, in parts."""
        async with transaction(self._engine) as connection:
            rows = await connection.stream(
                text("SELECT * FROM aliases"), execution_options={"yield_per": BATCH_SIZE}
            )
            async for part in rows.partitions(BATCH_SIZE):
                yield [_alias(row) for row in part]

    async def since(self, at: datetime) -> list[Alias]:
        """Read the aliases that are newer."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(text("SELECT * FROM aliases WHERE merged_at > :at"), {"at": at})
            return [_alias(row) for row in rows]


async def _chain(connection: AsyncConnection, customer_id: str) -> list[str]:
    """Read whom somebody stands for, one behind the other; the last one, who is nobody's alias, first."""
    rows = await connection.execute(_CHAIN, {"customer_id": customer_id})
    return [row.customer_id for row in rows]


def _alias(row: object) -> Alias:
    return Alias(row.alias, row.customer_id, row.merged_at, row.household_id)  # type: ignore[attr-defined]
