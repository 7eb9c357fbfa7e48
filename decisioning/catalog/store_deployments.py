"""Deployments among the catalogue's entries: they refer to placements, and to policies that are registered."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bandits.policy import PolicyKey
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import DEPLOYMENT
from decisioning.errors import Conflict, NotFound
from decisioning.policies.store import ALWAYS, lock_policies


async def check_deployments(connection: AsyncConnection, changes: Sequence[Entry]) -> None:
    """Check that the policies of the deployments among ``changes`` exist, and keep them until the transaction ends.

    Raises
    ------
    NotFound
        If a policy is not registered.
    Conflict
        If it is retired.
    """
    wanted: set[str] = set()
    for kind, name, body in changes:
        if kind == "deployment" and body is not None:
            wanted |= DEPLOYMENT.load(name, body).policies
    if not wanted - ALWAYS:
        return
    # Locked before they are read, so that none of them can be retired in between.
    await lock_policies(connection)
    rows = await connection.execute(text("SELECT name, version, state FROM policies"))
    states: dict[str, str] = {PolicyKey.of(row.name, row.version): row.state for row in rows}
    for key in sorted(wanted - ALWAYS):
        if key not in states:
            raise NotFound("policy", key)
        if states[key] == "retired":
            raise Conflict(f"{key} is retired; revive it first")


async def deployments_gone(connection: AsyncConnection, changes: Sequence[Entry]) -> list[Entry]:
    """Return the entries that delete the deployments of placements that ``changes`` delete."""
    gone = [name for kind, name, body in changes if kind == "placement" and body is None]
    if not gone:
        return []
    rows = await connection.execute(
        text(
            "SELECT id FROM (SELECT DISTINCT ON (id) id, body FROM catalog_entries WHERE kind = 'deployment'"
            " AND id = ANY(:ids) ORDER BY id, version DESC) d WHERE body IS NOT NULL ORDER BY id"
        ),
        {"ids": gone},
    )
    return [("deployment", row.id, None) for row in rows]
