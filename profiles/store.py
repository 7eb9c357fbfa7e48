"""Profiles one at a time: reading, caching and changing them."""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic_core import from_json, to_json
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from profiles.customer import NO_OFFERS, NO_PROPENSITIES, Customer, Profile, Scalar, Suppression
from profiles.customer_id import checked_id
from profiles.declared import readable_wishes
from profiles.errors import InvalidCustomer
from profiles.limits import MAX_INT, MIN_INT, VISITOR_PREFIX, check_customer
from profiles.privacy.consent_records import Statement
from profiles.privacy.store_actions import note_action
from profiles.privacy.store_consents import name_author, state_consents
from profiles.privacy.store_erasures import LOCK_STORING, refuse_erased
from profiles.replacing import changes_between
from profiles.store_cache import FILL_WITHIN_S, ProfileCache
from storage.errors import RedisUnavailable
from storage.locks import ALIASES_LOCK
from storage.postgres import postgres_errors
from storage.tasks import leave_after

READ_TIMEOUT_S = 2.0
"""Shorter than a tombstone lives, so that a read which began before a change cannot outlast it."""
WRITE_TIMEOUT_S = 8.0

SUPPRESSIONS = """(
    SELECT json_agg(json_build_array(s.list_id, s.reason, floor(extract(epoch FROM s.until) * 1000)::bigint,
                                     floor(extract(epoch FROM s.added_at) * 1000)::bigint, s.scope)
                    ORDER BY s.list_id)::text
    FROM (
        SELECT list_id, reason, until, added_at, scope FROM suppressions WHERE customer_id = {customer}
        UNION ALL SELECT 'erased', 'erased on request', NULL, erased_at, NULL
        FROM erased_customers WHERE subject = nb_subject({customer})
        UNION ALL SELECT list_id, reason, until, added_at, NULL FROM nb_registered({customer}, c.attributes)
    ) AS s
)"""
"""The entries of a customer ``c`` in suppression lists, as JSON; null if there are none.

Who is kept out after an erasure, and who is in a register, counts as one.
"""

CONSENTS = "consents_at(c.consents, c.consent_ends, now())::text"
"""The consents of a customer ``c`` as JSON, without those that have ended."""

_READ = text(f"""
SELECT c.customer_id IS NOT NULL, c.attributes::text, c.indicators::text, c.holdings, c.interests::text,
       {CONSENTS}, {SUPPRESSIONS.format(customer="asked.customer_id")}, p.scores::text,
       c.household_id, CASE WHEN c.consent_ends IS NOT NULL THEN next_consent_end_ms(c.consent_ends, now()) END
FROM (SELECT CAST(:customer_id AS text) AS customer_id) AS asked
LEFT JOIN customers AS c USING (customer_id)
LEFT JOIN propensities AS p USING (customer_id)
""")

_RECORD = f"true, attributes::text, indicators::text, holdings, interests::text, {CONSENTS}, NULL, NULL, household_id"
"""The columns of a record by itself, as ``customer_of_row`` takes them."""
_LOCK = text(f"SELECT {_RECORD} FROM customers AS c WHERE customer_id = :customer_id FOR UPDATE")
_INSERT = text(f"""
INSERT INTO customers AS c
    (customer_id, attributes, indicators, holdings, interests, consents, household_id, updated_at)
VALUES (:customer_id, CAST(:attributes AS jsonb), CAST(:indicators AS jsonb), CAST(:holdings AS text[]),
        CAST(:interests AS jsonb), CAST(:consents AS jsonb), CAST(:household_id AS text), now())
ON CONFLICT (customer_id) DO NOTHING RETURNING {_RECORD}
""")
_UPDATE = text(f"""
UPDATE customers AS c SET
    attributes = CAST(:attributes AS jsonb), indicators = CAST(:indicators AS jsonb),
    holdings = CAST(:holdings AS text[]), interests = CAST(:interests AS jsonb),
    consents = CAST(:consents AS jsonb), household_id = CAST(:household_id AS text), updated_at = now()
WHERE customer_id = :customer_id RETURNING {_RECORD}
""")

STANDS_FOR = text("""
WITH RECURSIVE chain AS (
    SELECT CAST(:customer_id AS text) AS customer_id, 0 AS steps
    UNION ALL SELECT a.customer_id, c.steps + 1 FROM aliases AS a JOIN chain AS c ON a.alias = c.customer_id
) SELECT customer_id FROM chain ORDER BY steps DESC LIMIT 1
""")
_BECAME = text("""
WITH RECURSIVE chain AS (
    SELECT alias AS visitor, customer_id, 1 AS steps FROM aliases WHERE alias = ANY(:visitors)
    UNION ALL SELECT c.visitor, a.customer_id, c.steps + 1 FROM aliases a JOIN chain c ON a.alias = c.customer_id
) SELECT DISTINCT ON (visitor) visitor, customer_id FROM chain ORDER BY visitor, steps DESC
""")
LOCK_ALIASES = text(f"SELECT pg_advisory_xact_lock_shared({ALIASES_LOCK})")
"""Held until the end of a transaction in which what is stored of a visitor is the customer's: merges hold it alone, so
nothing is stored under a visitor whose data has just been moved."""
_OFFER_NUMBERS = text("SELECT offer_id, offer_no FROM offers")
_SOME_OFFER_NUMBERS = text("SELECT offer_id, offer_no FROM offers WHERE offer_id = ANY(:offer_ids)")


async def became(connection: AsyncConnection, visitors: Collection[str]) -> dict[str, str]:
    """Read who visitors are in the end; those who are nobody else are left out."""
    rows = await connection.execute(_BECAME, {"visitors": list(visitors)})
    return {row.visitor: row.customer_id for row in rows}


class ProfileStore:
    """Profiles in Postgres behind the cache in Redis. ``key_of`` gives cache keys, ``clock`` monotonic seconds."""

    def __init__(
        self,
        engine: AsyncEngine,
        redis: Redis,
        key_of: Callable[[str], str],
        *,
        ttl_s: int = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cache = ProfileCache(redis, key_of, ttl_s=ttl_s)
        self._engine = engine
        # A single statement needs no transaction around it.
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._clock = clock
        self._later_numbers: dict[str, int | None] = {}

    async def get(self, customer_id: str, offer_numbers: Mapping[str, int]) -> Profile:
        """Read the profile from the cache or else from Postgres, and cache it then. Raises ``PostgresUnavailable``."""
        try:
            cached = await self.cache.get(customer_id)
        except RedisUnavailable:  # it is only a cache: go on without it
            return await self._load_known_or_not(customer_id, offer_numbers)
        if cached is not None:
            return cached
        started_s = self._clock()
        profile = await self._load_known_or_not(customer_id, offer_numbers)
        with suppress(RedisUnavailable):
            await self.fill(profile, started_s)
        return profile

    async def load(self, customer_id: str, offer_numbers: Mapping[str, int]) -> Profile | None:
        """Read a profile from Postgres, without the cache, in at most ``READ_TIMEOUT_S``.

        ``offer_numbers`` maps offer ids to their numbers; those that it lacks are looked up. ``None`` if nothing is
        known; who has only propensities or suppressions, and no record, is not ``known`` and has no consent. Raises
        ``PostgresUnavailable``.
        """
        try:
            customer_id = checked_id(customer_id)
        except InvalidCustomer:
            return None
        async with postgres_errors("read the profile from Postgres"):
            return await leave_after(self._load(customer_id, offer_numbers), READ_TIMEOUT_S)

    async def _load(self, customer_id: str, offer_numbers: Mapping[str, int]) -> Profile | None:
        async with self._reading.connect() as connection:
            *row, ends_in_ms = (await connection.execute(_READ, {"customer_id": customer_id})).one()
            has_record, suppressed, scored = row[0], row[6], row[7]
            has_scores = scored is not None
            if not has_record and not has_scores and suppressed is None:
                return None
            scores: dict[str, float] = from_json(scored) if has_scores else {}
            numbers = await self._complete(connection, scores, offer_numbers)
        if has_record:
            customer = customer_of_row(customer_id, row)
        else:
            customer = replace(Customer.unknown(customer_id), suppressions=_suppressions(suppressed))
        profile = profile_of_scores(customer, scores, numbers)
        return profile if ends_in_ms is None else replace(profile, holds_for_ms=ends_in_ms)

    async def stands_for(self, customer_id: str) -> str:
        """Read from Postgres which customer a visitor is; whoever is nobody's alias is returned as they are.

        Raises ``PostgresUnavailable``.
        """
        if not customer_id.startswith(VISITOR_PREFIX):
            return customer_id
        async with postgres_errors("read the alias from Postgres"):
            return await leave_after(self._stands_for(customer_id), READ_TIMEOUT_S)

    async def _stands_for(self, customer_id: str) -> str:
        async with self._reading.connect() as connection:
            return str(await connection.scalar(STANDS_FOR, {"customer_id": customer_id}))

    async def fill(self, profile: Profile, started_s: float) -> bool:
        """Cache what ``load`` read, if nothing else is there and it is not too old. Returns whether it did.

        ``started_s`` is the store's clock before the call of ``load``. Raises ``RedisUnavailable``.
        """
        passed_s = self._clock() - started_s
        left_s = FILL_WITHIN_S - passed_s
        if profile.holds_for_ms is not None:
            # From the beginning of the read on, which was before the moment that Postgres looked at.
            profile = replace(profile, holds_for_ms=profile.holds_for_ms - math.ceil(passed_s * 1000))
        return left_s > 0 and await self.cache.fill(profile, left_s)

    async def change_customer(
        self,
        customer_id: str,
        change: Callable[[Customer | None], Customer],
        statements: Collection[Statement] = (),
        author: str = "",
    ) -> tuple[Customer, bool]:
        """Store what ``change`` makes of a customer's record; nobody else changes it in between.

        ``statements``: consents and objections that are stated then. What changes has ``author`` in the history and in
        the trail.

        ``change`` gets ``None`` if there is no record, and may be called again with one that somebody just made.
        Nothing is stored if it raises. Returns the record as it is stored, and whether it is new. When this has
        returned, nobody gets an earlier record. Raises ``InvalidCustomer``, ``ErasedCustomer``, and ``Unavailable``,
        after which the call may be repeated.
        """
        customer_id = checked_id(customer_id)
        async with (
            self.cache.changing([customer_id]),
            postgres_errors("store the customer in Postgres"),
            asyncio.timeout(WRITE_TIMEOUT_S),
            self._engine.begin() as connection,
        ):
            await name_author(connection, author)
            while True:
                row = (await connection.execute(_LOCK, {"customer_id": customer_id})).first()
                if row is None:  # only then may it be one who was erased
                    await connection.execute(LOCK_STORING)
                    await refuse_erased(connection, customer_id)
                before = None if row is None else customer_of_row(customer_id, row)
                customer = change(before)
                check_customer(customer)
                statement = _INSERT if row is None else _UPDATE
                stored = (await connection.execute(statement, _values(customer))).first()
                if stored is not None:
                    break
            stated = 0
            if statements:
                stated = await state_consents(connection, customer_id, statements, author)
                stored = (await connection.execute(_LOCK, {"customer_id": customer_id})).one()
            after = customer_of_row(customer_id, stored)
            if changes := changes_between(before, after) | ({"consent_records": stated} if stated else {}):
                action = "recorded" if before is None else "rectified"
                await note_action(connection, action, customer_id, author, "", changes)
            return after, before is None

    async def offer_numbers(self) -> dict[str, int]:
        """Read the number of every offer there is. Raises ``PostgresUnavailable``."""
        async with (
            postgres_errors("read the offers from Postgres"),
            asyncio.timeout(READ_TIMEOUT_S),
            self._reading.connect() as connection,
        ):
            return {row[0]: row[1] for row in await connection.execute(_OFFER_NUMBERS)}

    async def _load_known_or_not(self, customer_id: str, offer_numbers: Mapping[str, int]) -> Profile:
        return await self.load(customer_id, offer_numbers) or Profile.unknown(customer_id)

    async def _complete(
        self, connection: AsyncConnection, offer_ids: Collection[str], numbers: Mapping[str, int]
    ) -> Mapping[str, int | None]:
        """Add the numbers of other ``offer_ids`` to ``numbers``."""
        # Offers may be newer than the caller's catalogue.
        missing = [offer_id for offer_id in offer_ids if offer_id not in numbers]
        if not missing:
            return numbers
        unseen = [offer_id for offer_id in missing if offer_id not in self._later_numbers]
        if unseen:
            rows = await connection.execute(_SOME_OFFER_NUMBERS, {"offer_ids": unseen})
            self._later_numbers |= dict.fromkeys(unseen) | {row[0]: row[1] for row in rows}
        return {**numbers, **{offer_id: self._later_numbers[offer_id] for offer_id in missing}}


def _values(customer: Customer) -> dict[str, Any]:
    return {
        "customer_id": customer.customer_id,
        "holdings": list(customer.holdings),
        "attributes": to_json(customer.attributes).decode(),
        "indicators": to_json(customer.indicators).decode(),
        "interests": to_json(customer.interests).decode(),
        "consents": to_json(customer.consents).decode(),
        "household_id": customer.household_id,
    }


def profile_of_scores(
    customer: Customer, scores: Mapping[str, float], numbers: Mapping[str, int | None]
) -> Profile:
    found = [
        (number, score) for offer_id, score in scores.items() if (number := numbers[offer_id]) is not None
    ]
    if not found:
        return Profile(customer, NO_OFFERS, NO_PROPENSITIES)
    offer_nos = np.array([number for number, _ in found], np.uint32)
    propensities = np.array([score for _, score in found], np.float32)
    order = offer_nos.argsort()
    return Profile(customer, offer_nos[order], propensities[order])


def customer_of_row(customer_id: str, row: Any) -> Customer:
    _, attributes, indicators, holdings, interests, consents, suppressions, _, household_id = row
    return Customer(
        customer_id,
        readable_wishes(
            {
                name: _scalar(value)
                for name, value in from_json(attributes).items()
                if isinstance(value, Scalar)
            }
        ),
        _floats(indicators),
        tuple(holdings),
        _floats(interests),
        {purpose: _channels(channels) for purpose, channels in from_json(consents).items()},
        suppressions=_suppressions(suppressions),
        household_id=household_id,
    )


def _suppressions(json: str | None) -> tuple[Suppression, ...]:
    return tuple(Suppression.read(*entry) for entry in from_json(json)) if json else ()


def _scalar(value: Scalar) -> Scalar:
    # Large floats come back from ``jsonb`` as whole numbers beyond 64 bits, which rules cannot handle.
    return float(value) if type(value) is int and not MIN_INT <= value <= MAX_INT else value


def _floats(json: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in from_json(json).items()
        if isinstance(value, float | int) and math.isfinite(value)
    }


def _channels(value: object) -> tuple[str, ...]:
    """Channels, or none at all if what is stored cannot be understood."""
    return tuple(map(str, value)) if isinstance(value, list) else ()
