"""Searching for customers by what identifies them: ids, aliases, and attributes that are declared as identifiers.

Each of these attributes has an index of its own on ``customers``, so that changes of customers, imports and erasures
keep it right by themselves, and none costs anything that nobody searches by.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from profiles.limits import MAX_ID_CHARS, VISITOR_PREFIX
from storage.errors import PostgresUnavailable
from storage.locks import IDENTIFIERS_LOCK
from storage.postgres import postgres_errors, single_statement, transaction
from storage.tasks import leave_after

log = logging.getLogger(__name__)

SEARCH_TIMEOUT_S = 1.0
"""The desk waits for it before it asks for offers."""
BY_ID, BY_ALIAS = "customer_id", "alias"

_PREFIX = "customers_by_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_INDEXES = text("""
SELECT c.relname, i.indisvalid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = 'customers'::regclass AND starts_with(c.relname, :prefix)
""")
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:lock)")
_UNLOCK = text("SELECT pg_advisory_unlock(:lock)")
# However many customers have a value, and whatever Postgres knows of that: an index is there, or the search fails.
_BY_INDEX_ALONE = text("SELECT set_config('enable_seqscan', 'off', true)")
_FIND = """
WITH RECURSIVE found AS (
    SELECT CAST(:asked AS text) AS name, '{by_id}' AS found_by
    WHERE EXISTS (SELECT FROM customers WHERE customer_id = :asked)
        OR EXISTS (SELECT FROM propensities WHERE customer_id = :asked)
        OR EXISTS (SELECT FROM suppressions WHERE customer_id = :asked)
    UNION ALL SELECT alias, '{by_alias}' FROM aliases WHERE alias IN (:asked, :visitor)
    {by_identifiers}
), chain AS (
    SELECT DISTINCT name, name AS customer_id, 0 AS steps FROM found
    UNION ALL SELECT c.name, a.customer_id, c.steps + 1 FROM chain AS c JOIN aliases AS a ON a.alias = c.customer_id
), owners AS (
    SELECT DISTINCT ON (name) name, customer_id FROM chain ORDER BY name, steps DESC
)
SELECT o.customer_id, array_agg(DISTINCT f.found_by) AS found_by
FROM found AS f JOIN owners AS o USING (name)
WHERE NOT EXISTS (SELECT FROM erased_customers WHERE subject = nb_subject(o.customer_id))
GROUP BY o.customer_id
ORDER BY bool_or(f.found_by = '{by_id}') DESC, o.customer_id COLLATE "C" LIMIT :most
"""
_BY_IDENTIFIER = """
    UNION ALL (SELECT customer_id, 'customer.{name}' FROM customers
               WHERE {key} = :asked AND attributes ->> '{name}' = :asked LIMIT :most)
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A customer who was found. ``found_by``: ``customer_id``, ``alias``, or paths of attributes."""

    customer_id: str
    found_by: list[str]


@dataclass(frozen=True, slots=True)
class Hits:
    """Customers who were found, and whether there are more of them.

    ``pending``: attributes by which nobody can be searched for yet, since their index is not made.
    """

    customers: list[Hit]
    more: bool
    pending: list[str]


@dataclass(frozen=True, slots=True)
class CustomerSearch:
    """Looks customers up. ``engine`` belongs to requests: its connections are given back soon."""

    engine: AsyncEngine

    async def find(self, asked: str, identifiers: Collection[str], limit: int) -> Hits:
        """Find who has ``asked`` as the id, as an alias, or as the value of one of some attributes, to the letter.

        Whoever is an alias is found as the customer in the end, and who was erased is not found. At most
        ``limit`` customers, the one of this id first. Raises ``PostgresUnavailable``, after ``SEARCH_TIMEOUT_S``
        at the latest.
        """
        async with postgres_errors("search for customers in Postgres"):
            return await leave_after(self._find(asked, identifiers, limit), SEARCH_TIMEOUT_S)

    async def _find(self, asked: str, identifiers: Collection[str], limit: int) -> Hits:
        async with self.engine.begin() as connection:
            made = {name for name, is_valid in await _read_indexes(connection) if is_valid}
            ready = [name for name in identifiers if _index_name(name) in made]
            await connection.execute(_BY_INDEX_ALONE)
            values = {"asked": asked, "visitor": f"{VISITOR_PREFIX}{asked}", "most": limit + 1}
            found = (await connection.execute(text(_search_for(ready)), values)).all()
        return Hits(
            [Hit(row.customer_id, sorted(row.found_by)) for row in found[:limit]],
            len(found) > limit,
            [name for name in identifiers if name not in ready],
        )


@dataclass(frozen=True, slots=True)
class IdentifierIndexes:
    """Keeps an index for each identifier. ``engine``: one whose statements may take long."""

    engine: AsyncEngine

    async def keep(self, identifiers: Collection[str]) -> bool:
        """Make the indexes that are lacking, and remove those of attributes that are no identifiers any more.

        Customers may be changed meanwhile. Of several callers one is at it, and the others have nothing to do. False
        if something cannot be made, which is written to the log. Raises ``PostgresUnavailable`` if Postgres is away.
        """
        wanted = {_index_name(name): name for name in identifiers}
        async with transaction(self.engine) as connection:
            if _is_kept(wanted, await _read_indexes(connection)):
                return True
        # An index that is made beside writers waits for all transactions that have begun to read: so the lock is one
        # of the session, and this connection has no transaction open meanwhile.
        async with single_statement(self.engine) as connection:
            if not await connection.scalar(_TRY_LOCK, {"lock": IDENTIFIERS_LOCK}):
                return True
            try:
                return await self._make(connection, wanted)
            finally:
                await connection.execute(_UNLOCK, {"lock": IDENTIFIERS_LOCK})

    async def _make(self, holder: AsyncConnection, wanted: Mapping[str, str]) -> bool:
        found = await _read_indexes(holder)
        gone = [index for index, is_valid in found if index not in wanted or not is_valid]
        done = True
        for index in gone:
            done &= await self._try(holder, f"DROP INDEX CONCURRENTLY IF EXISTS {index}", index)
        for index in wanted.keys() - ({index for index, _ in found} - set(gone)):
            key = _key_of(wanted[index])
            create = f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON customers ({key}) WHERE {key} IS NOT NULL"
            done &= await self._try(holder, create, wanted[index])
        return done

    async def _try(self, holder: AsyncConnection, statement: str, what: str) -> bool:
        try:
            async with single_statement(self.engine) as connection:
                await connection.execute(text(statement))
        except PostgresUnavailable as error:
            await holder.execute(text("SELECT 1"))  # raises if Postgres is away, or the lock is lost
            log.warning("the index of customers by %s is not as it has to be: %s", what, error)
            return False
        return True


def _is_kept(wanted: Collection[str], found: Iterable[tuple[str, bool]]) -> bool:
    found = list(found)
    return {index for index, _ in found} == set(wanted) and all(is_valid for _, is_valid in found)


async def _read_indexes(connection: AsyncConnection) -> list[tuple[str, bool]]:
    """Read the indexes by identifiers that there are, and whether each can be used."""
    return [(row[0], row[1]) for row in await connection.execute(_INDEXES, {"prefix": _PREFIX})]


def _search_for(identifiers: Iterable[str]) -> str:
    by = "".join(_BY_IDENTIFIER.format(name=name, key=_key_of(name)) for name in identifiers)
    return _FIND.format(by_id=BY_ID, by_alias=BY_ALIAS, by_identifiers=by)


def _index_name(name: str) -> str:
    # A name may be longer than those of Postgres, which are cut without a word.
    return f"{_PREFIX}{sha256(name.encode()).hexdigest()[:16]}"


def _key_of(name: str) -> str:
    """Return what is indexed of an attribute: its beginning, since an index takes no long texts."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an attribute")
    return f"left(attributes ->> '{name}', {MAX_ID_CHARS})"
