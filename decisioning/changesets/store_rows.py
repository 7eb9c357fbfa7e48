"""The rows of change sets: read, locked, and taken from one revision to the next, each with its step in the trail."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Row, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from decisioning.catalog.kind import Entry
from decisioning.changesets.changeset import EDITS, Action, Actor, Changeset, State, next_state
from decisioning.errors import NotFound, PreconditionFailed
from storage.postgres import where

_HOLLOW = "CASE WHEN i.body IS NOT NULL THEN '{}'::jsonb END"

_SELECT = """
SELECT c.changeset_id, c.title, c.note, c.author, c.base_version, c.revision, c.state, c.created_at, c.updated_at,
    c.inverse_of, c.approved_by, c.applied_version, c.rolled_back_version,
    array_append(ARRAY(SELECT s.person FROM changeset_steps s WHERE s.changeset_id = c.changeset_id
        AND s.action = ANY(:edits)), c.person) AS writers,
    (SELECT s.person FROM changeset_steps s WHERE s.changeset_id = c.changeset_id AND s.action = 'submit'
        ORDER BY s.revision DESC LIMIT 1) AS submitter,
    (SELECT coalesce(jsonb_agg(jsonb_build_array(i.kind, i.id, {body}) ORDER BY i.kind, i.id), '[]')
        FROM changeset_items i WHERE i.changeset_id = c.changeset_id) AS items
FROM changesets c
"""
_CREATE = text(
    "INSERT INTO changesets (title, note, author, person, base_version, revision, state, inverse_of)"
    " VALUES (:title, :note, :author, :person, :base, 1, 'draft', :inverse_of) RETURNING changeset_id"
)
_PUT_ITEM = text(
    "INSERT INTO changeset_items (changeset_id, kind, id, body) VALUES (:set, :kind, :id, cast(:body AS jsonb))"
    " ON CONFLICT (changeset_id, kind, id) DO UPDATE SET body = excluded.body"
)
_NOTE_STEP = text(
    "INSERT INTO changeset_steps (changeset_id, revision, action, author, person, note, kind, id)"
    " VALUES (:set, :revision, :action, :author, :person, :note, :kind, :id)"
)


async def read_page(
    connection: AsyncConnection, state: State | None, person: str | None, before: int | None, limit: int
) -> list[Changeset]:
    """Read change sets, the newest first: those in a state, of a person, and older than ``before``, if given.

    The bodies of their items, which may be long, are empty.
    """
    condition, values = where({"state =": state, "person =": person, "changeset_id <": before})
    query = text(
        f"{_SELECT.format(body=_HOLLOW)} {condition} ORDER BY c.changeset_id DESC LIMIT :limit"
    ).columns(items=JSONB)
    rows = await connection.execute(query, {**values, "limit": limit, "edits": list(EDITS)})
    return [_changeset(row) for row in rows]


async def create_changeset(
    connection: AsyncConnection,
    title: str,
    note: str,
    actor: Actor,
    base: int,
    items: Sequence[Entry],
    inverse_of: int | None = None,
) -> Changeset:
    values = {
        **{"title": title, "note": note, "author": actor.author, "person": actor.person},
        **{"base": base, "inverse_of": inverse_of},
    }
    changeset_id = (await connection.execute(_CREATE, values)).scalar_one()
    await put_items(connection, changeset_id, items)
    await _note_step(connection, changeset_id, 1, "create", actor, note)
    return await read_changeset(connection, changeset_id)


async def read_changeset(connection: AsyncConnection, changeset_id: int) -> Changeset:
    query = text(f"{_SELECT.format(body='i.body')} WHERE c.changeset_id = :id").columns(items=JSONB)
    row = (await connection.execute(query, {"id": changeset_id, "edits": list(EDITS)})).first()
    if row is None:
        raise NotFound("change set", str(changeset_id))
    return _changeset(row)


def _changeset(row: Row[Any]) -> Changeset:
    items = tuple((kind, name, body) for kind, name, body in row.items)
    return Changeset(**{**row._mapping, "writers": frozenset(row.writers), "items": items})


async def lock_changeset(connection: AsyncConnection, changeset_id: int, expected: int | None) -> Changeset:
    """Read a change set that nobody else changes until the transaction ends."""
    await connection.execute(
        text("SELECT 1 FROM changesets WHERE changeset_id = :id FOR UPDATE"), {"id": changeset_id}
    )
    changeset = await read_changeset(connection, changeset_id)
    if expected not in (None, changeset.revision):
        raise PreconditionFailed(f"{changeset.called} is at revision {changeset.revision}, not at {expected}")
    return changeset


async def advance(
    connection: AsyncConnection,
    changeset: Changeset,
    action: Action,
    actor: Actor,
    *,
    note: str = "",
    item: tuple[str, str] | None = None,
    approvals: bool = False,
    **columns: Any,
) -> Changeset:
    """Take a locked change set to its next state and revision. An approval ends unless it is among ``columns``."""
    state = next_state(changeset, action, actor, approvals=approvals)
    values: Mapping[str, Any] = {"approved_by": None} | columns
    assigned = ", ".join(f"{name} = :{name}" for name in values)
    await connection.execute(
        text(
            f"UPDATE changesets SET state = :state, revision = revision + 1, updated_at = now(), {assigned}"
            " WHERE changeset_id = :id"
        ),
        {**values, "state": state, "id": changeset.changeset_id},
    )
    await _note_step(
        connection, changeset.changeset_id, changeset.revision + 1, action, actor, note, *(item or ())
    )
    return await read_changeset(connection, changeset.changeset_id)


async def _note_step(
    connection: AsyncConnection,
    changeset_id: int,
    revision: int,
    action: str,
    actor: Actor,
    note: str,
    kind: str | None = None,
    name: str | None = None,
) -> None:
    values = {"action": action, "author": actor.author, "person": actor.person, "note": note}
    await connection.execute(
        _NOTE_STEP, {**values, "set": changeset_id, "revision": revision, "kind": kind, "id": name}
    )


async def put_items(connection: AsyncConnection, changeset_id: int, items: Sequence[Entry]) -> None:
    rows = [
        {"set": changeset_id, "kind": kind, "id": name, "body": _json(body)} for kind, name, body in items
    ]
    if rows:
        await connection.execute(_PUT_ITEM, rows)


def _json(body: Mapping[str, Any] | None) -> str | None:
    return None if body is None else to_json(body).decode()
