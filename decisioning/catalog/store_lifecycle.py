"""The life cycle of offers: the statuses that may follow, and deletion."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT
from sqlalchemy.ext.asyncio import AsyncConnection

from decisioning.catalog.kind import Entry
from decisioning.errors import Conflict, Invalid
from decisioning.model.entities import NEXT_STATUS


async def check_life(connection: AsyncConnection, changes: Sequence[Entry]) -> None:
    """Hold the offers among ``changes`` (not stored yet) to their life cycle.

    Raises
    ------
    Invalid
        If a status cannot follow the stored one, or an offer is scheduled without a start, or published without a
        treatment.
    """
    offers = {name: body for kind, name, body in changes if kind == "offer" and body is not None}
    before = await _statuses(connection, list(offers))
    new_treatments = {
        name.partition("/")[0] for kind, name, body in changes if kind == "treatment" and body is not None
    }
    for name, body in offers.items():
        old, new = before.get(name), body.get("status", "live")
        _check_step(name, old, new, body)
        if old == "draft" and new != "draft" and name not in new_treatments:
            gone = {n for kind, n, b in changes if kind == "treatment" and b is None}
            if not {n for _, n, _ in await treatments_gone(connection, name)} - gone:
                raise Invalid("status", f"the draft {name!r} has no treatment yet, so it cannot be published")


def _check_step(name: str, old: Any, new: Any, body: Mapping[str, Any]) -> None:
    if old is not None and new != old and new not in NEXT_STATUS[old]:
        allowed = ", ".join(sorted(NEXT_STATUS[old])) or "none; make another offer, or roll back"
        raise Invalid("status", f"the offer {name!r} is {old} and cannot become {new}; possible: {allowed}")
    if new == "scheduled" and not body.get("starts_ms"):
        raise Invalid(
            "starts_at", f"the offer {name!r} is scheduled, so it needs a start; without one it is live"
        )


async def check_never_published(connection: AsyncConnection, name: str) -> None:
    """Raise ``Conflict`` if the offer was more than a draft at any time."""
    published = await connection.scalar(
        text(
            "SELECT count(*) FROM catalog_entries WHERE kind = 'offer' AND id = :id AND body IS NOT NULL"
            " AND coalesce(body->>'status', 'live') <> 'draft'"
        ),
        {"id": name},
    )
    if published:
        raise Conflict(
            f"the offer {name!r} was published, so the log may refer to it: end it instead, with the status 'ended'"
        )


async def treatments_gone(connection: AsyncConnection, offer_id: str) -> list[Entry]:
    """Return the entries that would delete the treatments of an offer."""
    rows = await connection.execute(
        text(
            "SELECT id FROM (SELECT DISTINCT ON (id) id, body FROM catalog_entries WHERE kind = 'treatment'"
            " AND starts_with(id, :prefix) ORDER BY id, version DESC) t WHERE body IS NOT NULL ORDER BY id"
        ),
        {"prefix": f"{offer_id}/"},
    )
    return [("treatment", row.id, None) for row in rows]


async def _statuses(connection: AsyncConnection, names: list[str]) -> dict[str, Any]:
    """Return the status of those offers that are in force."""
    query = (
        text(
            "SELECT DISTINCT ON (id) id, body FROM catalog_entries WHERE kind = 'offer' AND id = ANY(:names)"
            " ORDER BY id, version DESC"
        )
        .bindparams(bindparam("names", type_=ARRAY(TEXT)))
        .columns(body=JSONB)
    )
    rows = await connection.execute(query, {"names": names})
    return {r.id: r.body.get("status", "live") for r in rows if r.body is not None}
