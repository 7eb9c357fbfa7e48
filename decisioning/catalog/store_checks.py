"""Checks of changes against what is stored: the life cycle of offers, and the policies of deployments."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from decisioning.catalog.checks import Mistake
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import DEPLOYMENT
from decisioning.catalog.store_entries import read_bodies
from decisioning.errors import Conflict, Invalid, NotFound, raised
from decisioning.model.entities import NEXT_STATUS
from decisioning.policies.store import ALWAYS, lock_policies
from decisioning.policies.store_rows import read_states


async def check_life(connection: AsyncConnection, changes: Sequence[Entry]) -> None:
    """Hold the offers among ``changes`` (not stored yet) to their life cycle.

    Raises ``Invalid`` if a status cannot follow the stored one, or an offer is scheduled without a start, or published
    without a treatment.
    """
    for mistake in await life_mistakes(connection, changes):
        raise mistake.error


async def life_mistakes(connection: AsyncConnection, changes: Sequence[Entry]) -> list[Mistake]:
    """Find the offers among ``changes`` (not stored yet) that break their life cycle."""
    offers = {name: body for kind, name, body in changes if kind == "offer" and body is not None}
    stored = await read_bodies(connection, "offer", "id = ANY(:ids)", ids=list(offers))
    new_treatments = {
        name.partition("/")[0] for kind, name, body in changes if kind == "treatment" and body is not None
    }
    found: list[Mistake] = []
    for name, body in offers.items():
        old = stored[name].get("status", "live") if name in stored else None
        new = body.get("status", "live")
        found += [Mistake("offer", name, error) for error in raised(_check_step, name, old, new, body)]
        if old == "draft" and new != "draft" and name not in new_treatments:
            gone = {n for kind, n, b in changes if kind == "treatment" and b is None}
            if not {n for _, n, _ in await treatments_gone(connection, name)} - gone:
                reason = f"the draft {name!r} has no treatment yet, so it cannot be published"
                found.append(Mistake("offer", name, Invalid("status", reason)))
    return found


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
    found = await read_bodies(connection, "treatment", "starts_with(id, :prefix)", prefix=f"{offer_id}/")
    return [("treatment", name, None) for name in found]


async def deployments_gone(connection: AsyncConnection, changes: Sequence[Entry]) -> list[Entry]:
    """Return the entries that delete the deployments of placements that ``changes`` delete."""
    gone = [name for kind, name, body in changes if kind == "placement" and body is None]
    found = await read_bodies(connection, "deployment", "id = ANY(:ids)", ids=gone) if gone else ()
    return [("deployment", name, None) for name in found]


async def check_deployments(connection: AsyncConnection, changes: Sequence[Entry]) -> None:
    """Check that the policies of the deployments among ``changes`` exist, and keep them until the transaction ends.

    Raises ``NotFound`` if a policy is not registered; ``Conflict`` if it is retired.
    """
    wanted: set[str] = set()
    for kind, name, body in changes:
        if kind == "deployment" and body is not None:
            wanted |= DEPLOYMENT.load(name, body).policies
    if not wanted - ALWAYS:
        return
    # Locked before they are read, so that none of them can be retired in between.
    await lock_policies(connection)
    states = await read_states(connection)
    for key in sorted(wanted - ALWAYS):
        if key not in states:
            raise NotFound("policy", key)
        if states[key] == "retired":
            raise Conflict(f"{key} is retired; revive it first")
