"""A sample of customers, for previews and simulations."""

import asyncio
from collections.abc import Mapping

from pydantic_core import from_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from profiles.customer import Profile
from profiles.store import CONSENTS, SUPPRESSIONS, customer_of_row, profile_of_scores
from storage.postgres import postgres_errors

TIMEOUT_S = 10.0

EXACT = 100_000
"""Up to so many customers are counted; of more the number is estimated, and not all are read for a sample."""
_THINNED = 10
"""Of so many customers on the pages that are read, one is drawn, as customers on one page may be alike."""

_COUNT = text("SELECT count(*) FROM (SELECT FROM customers LIMIT :most) AS c")
# Rows as of the last ANALYZE or vacuum, on pages as of now; below 0 as long as there was none.
_ESTIMATE = text("""
SELECT CASE WHEN relpages > 0 THEN reltuples / relpages * (pg_relation_size(oid) / current_setting('block_size')::int)
    ELSE -1 END FROM pg_class WHERE oid = 'customers'::regclass
""")
_COUNT_ALL = text("SELECT count(*) FROM customers")
_RECORD = (
    "c.customer_id, true AS known, c.attributes::text, c.indicators::text, c.holdings, c.interests::text"
)
_SAMPLED = "FROM (SELECT * FROM customers {sample} LIMIT :size) AS c"
_WHOLE = f"""
SELECT {_RECORD}, {CONSENTS}, {SUPPRESSIONS.format(customer="c.customer_id")}, p.scores::text AS scores, c.household_id
{_SAMPLED} LEFT JOIN propensities AS p USING (customer_id)
"""
# What else there is of a customer takes several times as long to read as the record.
_FACTS = f"SELECT {_RECORD}, jsonb_build_object()::text, NULL, NULL AS scores, c.household_id {_SAMPLED}"


async def sample_profiles(
    engine: AsyncEngine, numbers: Mapping[str, int] | None, size: int, seed: int = 0
) -> tuple[list[Profile], int]:
    """Read about ``size`` customers, all of them if there are not more, and their total number.

    The number is an estimate if it is more than ``EXACT``. The same ``seed`` gives the same sample while the table
    stays as it is. ``numbers``: offer ids to numbers; ``None`` if only the facts that rules look at are needed, so that
    consents, suppressions and propensities are left out. Raises ``PostgresUnavailable``.
    """
    async with (
        postgres_errors("read a sample of customers"),
        asyncio.timeout(TIMEOUT_S),
        engine.connect() as connection,
    ):
        total = await _count(connection)
        sampled = "" if total <= size else _sample(100.0 * size / total, int(seed), by_page=total > EXACT)
        statement = text((_FACTS if numbers is None else _WHOLE).format(sample=sampled))
        rows = (await connection.execute(statement, {"size": size})).all()
    profiles, numbers = [], numbers or {}
    for row in rows:
        stored = from_json(row.scores) if row.scores else {}
        scores = {offer_id: score for offer_id, score in stored.items() if offer_id in numbers}
        profiles.append(profile_of_scores(customer_of_row(row[0], row[1:]), scores, numbers))
    return profiles, total


async def _count(connection: AsyncConnection) -> int:
    counted = int(await connection.scalar(_COUNT, {"most": EXACT + 1}) or 0)
    if counted <= EXACT:
        return counted
    estimated = int(await connection.scalar(_ESTIMATE) or -1)
    return estimated if estimated > EXACT else int(await connection.scalar(_COUNT_ALL) or 0)


def _sample(share: float, seed: int, *, by_page: bool) -> str:
    """Write how rows are drawn. ``share``: of all, in percent. ``by_page``: of pages that are drawn, not of all."""
    # A fifth more than is asked for: each row is drawn for itself, and what is too many is cut off.
    drawn = 1.2 * share + 0.01
    pages = drawn * _THINNED
    if not by_page or pages > 50:
        return f"TABLESAMPLE BERNOULLI ({min(100.0, drawn):.6f}) REPEATABLE ({seed})"
    return (
        f"TABLESAMPLE SYSTEM ({pages:.6f}) REPEATABLE ({seed})"
        f" WHERE (hashtextextended(customer_id, {seed}) & 2147483647) % {_THINNED} = 0"
    )
