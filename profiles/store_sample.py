"""A sample of customers, for previews and simulations."""

import asyncio
from collections.abc import Mapping

from pydantic_core import from_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.customer import Profile
from profiles.store import CONSENTS, SUPPRESSIONS, customer_of_row, profile_of_scores
from storage.postgres import postgres_errors

TIMEOUT_S = 10.0

_COUNT = text("SELECT count(*) FROM customers")
_SUPPRESSIONS = SUPPRESSIONS.format(customer="c.customer_id")
_ALL = """
SELECT c.customer_id, true AS known, c.attributes::text, c.indicators::text, c.holdings, c.interests::text,
       {consents}, {suppressions}, p.scores::text AS scores, c.household_id
FROM customers AS c {sample}
LEFT JOIN propensities AS p USING (customer_id)
LIMIT :size
"""


async def sample_profiles(
    engine: AsyncEngine, numbers: Mapping[str, int], size: int, seed: int = 0
) -> tuple[list[Profile], int]:
    """Read about ``size`` customers, all of them if there are not more, and their total number.

    The same ``seed`` gives the same sample while the table stays as it is. ``numbers``: offer ids to numbers.
    Raises ``PostgresUnavailable``.
    """
    async with (
        postgres_errors("read a sample of customers"),
        asyncio.timeout(TIMEOUT_S),
        engine.connect() as connection,
    ):
        total = int(await connection.scalar(_COUNT) or 0)
        # A fifth more than is asked for: each row is drawn for itself, and what is too many is cut off.
        share = min(100.0, 120.0 * size / max(total, 1) + 0.01)
        sampled = "" if total <= size else f"TABLESAMPLE BERNOULLI ({share:.6f}) REPEATABLE ({int(seed)})"
        rows = (
            await connection.execute(
                text(_ALL.format(sample=sampled, suppressions=_SUPPRESSIONS, consents=CONSENTS)),
                {"size": size},
            )
        ).all()
    profiles = []
    for row in rows:
        stored = from_json(row.scores) if row.scores else {}
        scores = {offer_id: score for offer_id, score in stored.items() if offer_id in numbers}
        profiles.append(profile_of_scores(customer_of_row(row[0], row[1:]), scores, numbers))
    return profiles, total
