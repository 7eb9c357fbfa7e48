"""Change sets in Postgres, with the trail of what was done with them."""

import asyncio
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checks import Mistake
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import KINDS, OFFER
from decisioning.catalog.store import append_entries, open_writing, told_alone
from decisioning.catalog.store_checks import check_never_published
from decisioning.catalog.store_entries import read_entries, read_version
from decisioning.changesets.changeset import Action, Actor, Changeset, State, Step, next_state
from decisioning.changesets.overlap import (
    Bodies,
    Keep,
    due_changes,
    find_overlaps,
    inverse_items,
    orphans,
    rebase_items,
    refuse_overlaps,
)
from decisioning.changesets.store_rows import (
    advance,
    create_changeset,
    lock_changeset,
    put_items,
    read_changeset,
    read_page,
)
from decisioning.errors import Conflict, Invalid, NotFound
from storage.postgres import transaction

_REBASE = "POST .../rebase brings the change set to the catalogue as it is"
_REDO = "withdraw it, and make another inverse of the same change set, with force if that is to be lost"
FORCE = "with force what they have changed is lost"


def way_out_of(changeset: Changeset) -> str:
    """Say what can be done when others have changed the same meanwhile."""
    return _REBASE if changeset.inverse_of is None else _REDO


class ChangesetStore:
    """Change sets, each changed by one at a time. All methods raise ``PostgresUnavailable``.

    Those that are given ``expected`` raise ``PreconditionFailed`` if the change set is at another revision by now; all
    that are given an id raise ``NotFound`` if there is none, ``Conflict`` and ``NotAllowed`` as ``next_state`` does.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, changeset_id: int) -> Changeset:
        """Read a change set."""
        async with transaction(self._engine) as connection:
            return await read_changeset(connection, changeset_id)

    async def page(
        self, state: State | None, person: str | None, before: int | None, limit: int
    ) -> list[Changeset]:
        """Read change sets as ``read_page`` does, without the bodies of their items."""
        async with transaction(self._engine) as connection:
            return await read_page(connection, state, person, before, limit)

    async def steps(self, changeset_id: int) -> list[Step]:
        """Read what was done with a change set, the oldest first."""
        query = text(
            "SELECT revision, action, author, note, done_at, kind, id AS name FROM changeset_steps"
            " WHERE changeset_id = :id ORDER BY revision"
        )
        async with transaction(self._engine) as connection:
            return [Step(**row._mapping) for row in await connection.execute(query, {"id": changeset_id})]

    async def create(
        self, title: str, note: str, actor: Actor, items: Sequence[Entry] = (), base: int | None = None
    ) -> Changeset:
        """Make a draft on top of the catalogue at version ``base``, by default the one in force."""
        async with transaction(self._engine) as connection:
            version = await read_version(connection) if base is None else base
            return await create_changeset(connection, title, note, actor, version, items)

    async def create_inverse(
        self, changeset_id: int, title: str, note: str, actor: Actor, *, force: bool
    ) -> Changeset:
        """Make the draft of what takes an applied change set back.

        ``force``: also what others have changed since; otherwise raises ``Overtaken``.
        """
        async with transaction(self._engine) as connection:
            applied = await read_changeset(connection, changeset_id)
            if applied.state != "applied":
                raise Conflict(f"{applied.called} is {applied.state}: only what is applied can be taken back")
            version = await read_version(connection)
            items = await _inverse(connection, applied, version, force=force)
            return await create_changeset(
                connection, title, note, actor, version, items, applied.changeset_id
            )

    async def act(
        self, changeset_id: int, action: Action, actor: Actor, note: str = "", expected: int | None = None
    ) -> Changeset:
        """Take a change set to its next state."""
        async with transaction(self._engine) as connection:
            changeset = await lock_changeset(connection, changeset_id, expected)
            approved_by = actor.author if action == "approve" else None
            return await advance(connection, changeset, action, actor, note=note, approved_by=approved_by)

    async def put_item(
        self, changeset_id: int, item: Entry, actor: Actor, expected: int | None = None
    ) -> Changeset:
        """Put an item into a change set, or replace it."""
        async with transaction(self._engine) as connection:
            changeset = await lock_changeset(connection, changeset_id, expected)
            await put_items(connection, changeset_id, [item])
            return await advance(connection, changeset, "put_item", actor, item=item[:2])

    async def drop_item(
        self, changeset_id: int, kind: str, name: str, actor: Actor, expected: int | None = None
    ) -> Changeset:
        """Take an item out of a change set. Raises ``NotFound`` also if it is not there."""
        async with transaction(self._engine) as connection:
            changeset = await lock_changeset(connection, changeset_id, expected)
            gone = await connection.execute(
                text("DELETE FROM changeset_items WHERE changeset_id = :set AND kind = :kind AND id = :id"),
                {"set": changeset_id, "kind": kind, "id": name},
            )
            if not gone.rowcount:
                raise NotFound(f"item of {changeset.called}", f"{kind}/{name}")
            return await advance(connection, changeset, "drop_item", actor, item=(kind, name))

    async def rebase(
        self, changeset_id: int, actor: Actor, keep: Keep | None, expected: int | None = None
    ) -> Changeset:
        """Bring a change set to the catalogue in force. Raises ``Overtaken`` as ``rebase_items`` does."""
        async with transaction(self._engine) as connection:
            changeset = await lock_changeset(connection, changeset_id, expected)
            version = await read_version(connection)
            base, now = [await _bodies(connection, v) for v in (changeset.base_version, version)]
            items = await asyncio.to_thread(rebase_items, base, now, changeset.items, keep)
            await connection.execute(
                text("DELETE FROM changeset_items WHERE changeset_id = :set"), {"set": changeset_id}
            )
            await put_items(connection, changeset_id, items)
            return await advance(connection, changeset, "rebase", actor, base_version=version)

    async def apply(
        self, changeset_id: int, actor: Actor, note: str, expected: int | None, *, approvals: bool
    ) -> tuple[Changeset, Catalogue]:
        """Publish a change set as one version of the catalogue.

        Raises ``Overtaken`` if others have changed the same things since its base, and ``Invalid`` or ``NotFound`` if
        the catalogue would not be right; nothing is changed then.
        """
        async with open_writing(self._engine) as connection:
            changeset = await lock_changeset(connection, changeset_id, expected)
            next_state(changeset, "apply", actor, approvals=approvals)
            base = await _bodies(connection, changeset.base_version)
            now = await _bodies(connection, await read_version(connection))
            overlaps = await asyncio.to_thread(find_overlaps, base, now, changeset.items)
            refuse_overlaps(overlaps, way_out_of(changeset))
            changes = await asyncio.to_thread(due_changes, now, changeset.items)
            if not changes:
                raise Conflict(f"{changeset.called} changes nothing any more: withdraw it")
            for mistake in await _own_mistakes(connection, changeset, now, changes):
                raise mistake.error
            approved = f", approved by {changeset.approved_by}" if changeset.approved_by else ""
            reason = f"{changeset.called} by {changeset.author}{approved}: {changeset.title}"
            catalogue = await append_entries(
                connection, changes, actor.author, reason, checked=changeset.is_checked
            )
            applied = await advance(
                connection,
                changeset,
                "apply",
                actor,
                note=note,
                approvals=approvals,
                applied_version=catalogue.version,
                approved_by=changeset.approved_by,
            )
            if changeset.inverse_of is not None:
                original = await lock_changeset(connection, changeset.inverse_of, None)
                await advance(
                    connection,
                    original,
                    "roll_back",
                    actor,
                    note=changeset.called,
                    rolled_back_version=catalogue.version,
                    approved_by=original.approved_by,
                )
            return applied, catalogue

    async def roll_back(
        self,
        changeset_id: int,
        actor: Actor,
        note: str,
        expected: int | None,
        *,
        approvals: bool,
        force: bool,
    ) -> tuple[Changeset, Catalogue]:
        """Take an applied change set back, as one version of the catalogue.

        ``force``: also what others have changed since; otherwise raises ``Overtaken``.
        """
        async with open_writing(self._engine) as connection:
            changeset = await lock_changeset(connection, changeset_id, expected)
            next_state(changeset, "roll_back", actor, approvals=approvals)
            version = await read_version(connection)
            items = await _inverse(connection, changeset, version, force=force)
            changes = await asyncio.to_thread(due_changes, await _bodies(connection, version), items)
            if not changes:
                raise Conflict(f"nothing of {changeset.called} is left to be taken back")
            reason = f"{changeset.called} is taken back: {note or changeset.title}"
            reason = told_alone(reason) if approvals else reason
            catalogue = await append_entries(connection, changes, actor.author, reason, checked=False)
            rolled_back = await advance(
                connection,
                changeset,
                "roll_back",
                actor,
                note=note,
                approvals=approvals,
                rolled_back_version=catalogue.version,
                approved_by=changeset.approved_by,
            )
            return rolled_back, catalogue

    async def standing(self, changeset: Changeset) -> tuple[int, Bodies, Bodies]:
        """Return the version of the catalogue, and what there is at the base of a change set, and now.

        Of one that was applied, what there was before, and by it.
        """
        async with transaction(self._engine) as connection:
            applied = changeset.applied_version
            if applied is not None:
                return applied, await _bodies(connection, applied - 1), await _bodies(connection, applied)
            version = await read_version(connection)
            return (
                version,
                await _bodies(connection, changeset.base_version),
                await _bodies(connection, version),
            )

    async def own_mistakes(
        self, changeset: Changeset, now: Bodies, changes: Sequence[Entry]
    ) -> list[Mistake]:
        """Find what is wrong with changes beyond the catalogue that they make: offers that may not be deleted."""
        async with transaction(self._engine) as connection:
            return await _own_mistakes(connection, changeset, now, changes)


async def _own_mistakes(
    connection: AsyncConnection, changeset: Changeset, now: Bodies, changes: Sequence[Entry]
) -> list[Mistake]:
    found = list(orphans(now, changes))
    for kind, name, body in changes:
        if kind == OFFER.name and body is None and changeset.is_checked:
            try:
                await check_never_published(connection, name)
            except Conflict as error:
                found.append(Mistake(kind, name, Invalid("status", str(error))))
    return found


async def _inverse(
    connection: AsyncConnection, applied: Changeset, version: int, *, force: bool
) -> list[Entry]:
    assert applied.applied_version is not None
    before, after, now = [
        await _bodies(connection, v) for v in (applied.applied_version - 1, applied.applied_version, version)
    ]
    sides = ([(*key, body) for key, body in side.items()] for side in (before, after))
    items = await asyncio.to_thread(inverse_items, *sides)
    if not force:
        refuse_overlaps(await asyncio.to_thread(find_overlaps, after, now, items), FORCE)
    return items


async def _bodies(connection: AsyncConnection, version: int) -> Bodies:
    """Read what there is in a version of the catalogue, but for kinds that are not in files."""
    rows, _ = await read_entries(connection, version)
    in_files = {kind.name for kind in KINDS.values() if kind.in_files}
    return {(r.kind, r.id): r.body for r in rows if r.body is not None and r.kind in in_files}
