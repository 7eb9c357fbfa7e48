"""The history of consents and objections, which only grows, and what holds after it, as decisions read it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from profiles.customer_id import checked_id
from profiles.privacy.consent_records import Stated, Statement, entries_after
from storage.clock import floor_ms
from storage.postgres import transaction

_COLUMNS = "customer_id, kind, purpose, channel, given, at, source, proof, expires_at"
STAGED_COLUMNS = (
    "customer_id text, kind text, purpose text, channel text, given boolean, at timestamptz, source text, proof text,"
    " expires_at timestamptz"
)
_SENT = f"jsonb_to_recordset(CAST(:said AS jsonb)) AS s ({STAGED_COLUMNS})"
# What was said before already, with all that belongs to it, is not said again.
_ADD = """
INSERT INTO consent_records
    (customer_id, kind, purpose, channel, given, stated_at, source, proof, expires_at, before, author)
SELECT s.customer_id, s.kind, s.purpose, s.channel, s.given, coalesce(s.at, now()), s.source, s.proof, s.expires_at,
       consents_at(c.consents, c.consent_ends, now()) -> s.purpose, :author
FROM (SELECT DISTINCT {columns} FROM {said}) AS s JOIN customers AS c USING (customer_id)
WHERE NOT EXISTS (
    SELECT FROM consent_records AS r
    WHERE r.customer_id = s.customer_id AND r.kind = s.kind AND r.purpose = s.purpose AND r.channel = s.channel
        AND r.given = s.given AND r.stated_at = s.at AND r.source = s.source AND r.proof = s.proof
        AND r.expires_at IS NOT DISTINCT FROM s.expires_at
)
RETURNING customer_id, purpose, channel
"""
_CREATE = """
INSERT INTO customers (customer_id) SELECT DISTINCT customer_id COLLATE "C" FROM {said} ORDER BY 1
ON CONFLICT DO NOTHING
"""
_LOCK = text("""
SELECT FROM customers WHERE customer_id = ANY(:ids) ORDER BY customer_id COLLATE "C" FOR UPDATE
""")
_STORED = text("""
SELECT customer_id, consents_at(consents, consent_ends, now())::text, consent_ends::text, now()
FROM customers WHERE customer_id = ANY(:ids)
""")
# Of what was stored before there were records the time is not known: a consent counts as older than any objection, an
# objection as newer than what was stated before it was noted here.
_STATED = text("""
SELECT customer_id, purpose, kind, channel, given,
       coalesce(stated_at, CASE WHEN kind = 'objection' THEN recorded_at ELSE to_timestamp(0) END), expires_at
FROM consent_records WHERE customer_id = ANY(:ids)
""")
_STORE = text("""
UPDATE customers AS c SET consents = s.consents, consent_ends = s.ends, updated_at = now()
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS s (customer_id text, consents jsonb, ends jsonb)
WHERE c.customer_id = s.customer_id
""")
_SET = text("SELECT set_config(:name, :value, true)")
_READ = text("""
SELECT record_id, kind, purpose, channel, given, stated_at AS at, source, proof, expires_at, before, author, recorded_at
FROM consent_records WHERE customer_id = :customer_id AND record_id < coalesce(:before_id, 9223372036854775807)
ORDER BY record_id DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """One entry of the history. ``before``: the entries of the purpose until then; ``None`` if there were none.

    ``at``: when it was stated, ``None`` if nobody knows. ``author`` brought it here at ``recorded_at``.
    """

    record_id: int
    kind: str
    purpose: str
    channel: str
    given: bool
    at: datetime | None
    source: str
    proof: str
    expires_at: datetime | None
    before: Sequence[str] | None
    author: str
    recorded_at: datetime


async def name_author(connection: AsyncConnection, author: str) -> None:
    """Say who changes consents in the transaction of ``connection``, for the history."""
    await connection.execute(_SET, {"name": "nextbest.author", "value": author})


async def state_consents(
    connection: AsyncConnection, customer_id: str, statements: Collection[Statement], author: str
) -> int:
    """Add statements to the history of a customer who has a record, and store what holds after them.

    Returns how many were new.
    """
    said = [{"customer_id": customer_id, **asdict(one)} for one in statements]
    return await _state(connection, _SENT, author, {"said": to_json(said).decode()})


async def state_staged_consents(
    connection: AsyncConnection, table: str, customer_ids: Sequence[str], author: str
) -> None:
    """Add the statements of a table with ``STAGED_COLUMNS``; customers without a record get an empty one."""
    await connection.execute(text(_CREATE.format(said=table)))
    await connection.execute(_LOCK, {"ids": list(customer_ids)})
    await _state(connection, table, author, {})


async def _state(connection: AsyncConnection, said: str, author: str, values: Mapping[str, Any]) -> int:
    add = text(_ADD.format(said=said, columns=_COLUMNS))
    added = (await connection.execute(add, {**values, "author": author})).all()
    changed: dict[str, dict[str, set[str]]] = {}
    for customer_id, purpose, channel in added:
        changed.setdefault(customer_id, {}).setdefault(purpose, set()).add(channel)
    if not changed:
        return 0
    asked = {"ids": list(changed)}
    stated: dict[tuple[str, str], list[Stated]] = {}
    for customer_id, purpose, *fields in await connection.execute(_STATED, asked):
        stated.setdefault((customer_id, purpose), []).append(Stated(*fields))
    rows = []
    for customer_id, consents, ends, now in await connection.execute(_STORED, asked):
        of_purpose = {purpose: stated[customer_id, purpose] for purpose in changed[customer_id]}
        found = _after(from_json(consents), from_json(ends or "{}"), of_purpose, changed[customer_id], now)
        rows.append({"customer_id": customer_id} | found)
    await connection.execute(_SET, {"name": "nextbest.consents_noted", "value": "on"})
    await connection.execute(_STORE, {"rows": to_json(rows).decode()})
    await connection.execute(_SET, {"name": "nextbest.consents_noted", "value": ""})
    return len(added)


def _after(
    consents: dict[str, Any],
    ends: dict[str, dict[str, Any]],
    stated: Mapping[str, Sequence[Stated]],
    changed: Mapping[str, Collection[str]],
    now: datetime,
) -> dict[str, Any]:
    """Return the consents of a customer after statements, and their ends, as they are stored."""
    for purpose, channels in changed.items():
        before = consents.pop(purpose, None)
        entries = tuple(map(str, before)) if isinstance(before, list) else None if before is None else ()
        after, new_ends = entries_after(entries, stated[purpose], channels, now)
        if after is not None:
            consents[purpose] = after
        kept = {name: end for name, end in ends.pop(purpose, {}).items() if name not in new_ends}
        kept |= {name: [floor_ms(end.at), end.objected] for name, end in new_ends.items() if end is not None}
        if kept:
            ends[purpose] = kept
    return {"consents": consents, "ends": ends or None}


async def read_consents(
    engine: AsyncEngine, customer_id: str, before: int | None, limit: int
) -> list[ConsentRecord]:
    """Read the newest records of a customer before the one of the number ``before``.

    Raises ``InvalidCustomer`` and ``PostgresUnavailable``.
    """
    values = {"customer_id": checked_id(customer_id), "before_id": before, "limit": limit}
    async with transaction(engine) as connection:
        return [ConsentRecord(**row._mapping) for row in await connection.execute(_READ, values)]
