"""Rows of policies in Postgres: what was registered, and who retired or revived it, when and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from bandits.policy import PolicyKey, PolicySpec
from bandits.specification import parse_stored_spec, spec_to_dict
from decisioning.errors import Conflict, NotFound

PolicyState = Literal["registered", "folding", "live", "failed", "retired"]
"""``registered``: waits for its warm start; ``folding``: the archived log is being folded into its arms; ``live``: it
is as warm as can be, and may decide; ``failed``: its warm start failed, and will be tried again; ``retired``: it learns
no more, and has no arms."""
PolicyChangeKind = Literal["retired", "revived"]


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One change of a policy after it was registered."""

    change: PolicyChangeKind
    author: str
    reason: str
    changed_at: datetime


@dataclass(frozen=True)
class RegisteredPolicy:
    """A registered policy. ``folded`` of ``total`` archived outcomes have been read by its warm start.

    ``changes``: who retired or revived it, the last one first.
    """

    name: str
    version: int
    body: Mapping[str, Any]
    author: str
    reason: str
    created_at: datetime
    retired_at: datetime | None
    state: PolicyState
    folded: int
    total: int
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    changes: tuple[PolicyChange, ...]

    @property
    def key(self) -> PolicyKey:
        """``name@version``."""
        return PolicyKey.of(self.name, self.version)

    @cached_property
    def spec(self) -> PolicySpec:
        """The specification. Raises ``PolicyParameterError`` if it cannot be used here."""
        return parse_stored_spec(self.body)


BY_KEY = "name = :name AND version = :version"
"""The condition for the row of one policy, by its ``key_parameters``."""

_CHANGES = (
    "(SELECT coalesce(jsonb_agg(jsonb_build_object('change', change, 'author', author, 'reason', reason,"
    " 'changed_at', changed_at) ORDER BY change_id DESC), '[]') FROM policy_changes"
    " WHERE (policy_changes.name, policy_changes.version) = (policies.name, policies.version))"
)
_SELECT = (
    "SELECT name, version, spec AS body, author, reason, created_at, retired_at, state, folded, total, started_at,"
    f" finished_at, error, {_CHANGES} AS changes FROM policies"
)


def key_parameters(key: str) -> dict[str, Any]:
    """Return name and version of ``name@version``, as parameters; version 0, which nothing has, if there is none."""
    name, _, version = key.rpartition("@")
    return {"name": name, "version": int(version) if version.isascii() and version.isdigit() else 0}


async def find_policies(
    connection: AsyncConnection, rest: str, values: Mapping[str, Any] | None = None
) -> list[RegisteredPolicy]:
    """Read the policies that the ``rest`` of the query picks, in its order."""
    query = text(f"{_SELECT} {rest}").columns(body=JSONB, changes=JSONB)
    rows = await connection.execute(query, values)
    return [RegisteredPolicy(**{**row._mapping, "changes": _changes(row.changes)}) for row in rows]


def _changes(found: Sequence[Mapping[str, Any]]) -> tuple[PolicyChange, ...]:
    # Times in JSON are in the database's own time zone.
    times = [datetime.fromisoformat(c["changed_at"]).astimezone(UTC) for c in found]
    return tuple(PolicyChange(**{**c, "changed_at": at}) for c, at in zip(found, times, strict=True))


async def read_states(connection: AsyncConnection) -> dict[str, PolicyState]:
    """Read the state of each policy, by ``name@version``."""
    rows = await connection.execute(text("SELECT name, version, state FROM policies"))
    return {PolicyKey.of(row.name, row.version): row.state for row in rows}


async def get_policy(connection: AsyncConnection, key: str) -> RegisteredPolicy:
    """Read the policy ``name@version``. Raises ``NotFound``."""
    found = await find_policies(connection, f"WHERE {BY_KEY}", key_parameters(key))
    if not found:
        raise NotFound("policy", key)
    return found[0]


async def find_newest(connection: AsyncConnection, name: str) -> RegisteredPolicy | None:
    """Read the highest version of a policy, if there is any."""
    found = await find_policies(
        connection, "WHERE name = :name ORDER BY version DESC LIMIT 1", {"name": name}
    )
    return found[0] if found else None


def has_specification(found: RegisteredPolicy, spec: PolicySpec) -> bool:
    """Return whether a policy is specified by ``spec``, apart from its version."""
    return dict(found.body) == spec_to_dict(replace(spec, version=found.version))


async def insert_policy(
    connection: AsyncConnection, spec: PolicySpec, learns: bool, author: str, reason: str
) -> bool:
    """Add a policy; False if exactly this one is there. Raises ``Conflict`` if another one has its version."""
    inserted = await connection.execute(
        text(
            "INSERT INTO policies (name, version, spec, author, reason, state)"
            " VALUES (:name, :version, cast(:spec AS jsonb), :author, :reason, :state) ON CONFLICT DO NOTHING"
        ),
        {
            "name": spec.name,
            "version": spec.version,
            "spec": to_json(spec_to_dict(spec)).decode(),
            "author": author,
            "reason": reason,
            "state": "registered" if learns else "live",
        },
    )
    if inserted.rowcount:
        return True
    if has_specification(await get_policy(connection, spec.key), spec):
        return False
    raise Conflict(
        f"{spec.key} is registered with another specification, and versions never change; take the next"
    )


async def update_policy(
    connection: AsyncConnection, key: str, what: str, condition: str = "true", **values: Any
) -> bool:
    """Set columns of a policy's row, if the condition holds for it; returns whether it does."""
    query = text(f"UPDATE policies SET {what} WHERE {BY_KEY} AND {condition}")
    updated = await connection.execute(query, {**key_parameters(key), **values})
    return bool(updated.rowcount)


async def note_change(
    connection: AsyncConnection, key: str, change: PolicyChangeKind, author: str, reason: str
) -> None:
    """Note who retired or revived a policy, in the transaction that does it."""
    await connection.execute(
        text(
            "INSERT INTO policy_changes (name, version, change, author, reason)"
            " VALUES (:name, :version, :change, :author, :reason)"
        ),
        {**key_parameters(key), "change": change, "author": author, "reason": reason},
    )


async def placements_of(connection: AsyncConnection, key: str) -> list[str]:
    """Find the placements in which a policy decides, or is a shadow."""
    rows = await connection.execute(
        text(
            "SELECT id FROM (SELECT DISTINCT ON (id) id, body FROM catalog_entries WHERE kind = 'deployment'"
            " ORDER BY id, version DESC) d WHERE body ->> 'champion' = :key OR body #>> '{canary,policy}' = :key"
            " OR body -> 'shadows' @> to_jsonb(cast(:key AS text)) ORDER BY id"
        ),
        {"key": key},
    )
    return [row.id for row in rows]
