"""Checks of change sets as a whole, before they are submitted and when they are applied."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checks import Mistake
from decisioning.catalog.kind import Entry
from decisioning.catalog.store import CatalogueStore
from decisioning.catalog.yaml_document import Document
from decisioning.changesets.changeset import Actor, Changeset
from decisioning.changesets.overlap import Overlap, due_changes, find_overlaps, refuse_overlaps
from decisioning.changesets.store_changesets import ChangesetStore, way_out_of
from decisioning.errors import Invalid, NotFound


@dataclass(frozen=True, slots=True)
class Checked:
    """A change set on top of the catalogue at ``version``: what it changes there, and all that stands against it."""

    version: int
    changes: list[Entry]
    mistakes: list[Mistake]
    overlaps: list[Overlap]


@dataclass(frozen=True, slots=True)
class ChangesetService:
    """Change sets on top of the catalogue. Methods raise what ``ChangesetStore`` does."""

    store: ChangesetStore
    catalogues: CatalogueStore

    async def check(self, changeset: Changeset) -> Checked:
        """Check a change set on top of the catalogue as it is now."""
        version, base, now = await self.store.standing(changeset)
        changes = await asyncio.to_thread(due_changes, now, changeset.items)
        mistakes = await self.store.own_mistakes(changeset, now, changes)
        mistakes += await self.catalogues.mistakes(version, changes, checked=changeset.is_checked)
        overlaps = await asyncio.to_thread(find_overlaps, base, now, changeset.items)
        return Checked(version, changes, mistakes, overlaps)

    async def submit(self, changeset_id: int, actor: Actor, note: str, expected: int | None) -> Changeset:
        """Submit a draft to be approved. Raises what ``apply`` does of it."""
        changeset = await self.store.find(changeset_id)
        if changeset.state == "draft":
            checked = await self.check(changeset)
            refuse_overlaps(checked.overlaps, way_out_of(changeset))
            _refuse(checked.mistakes)
        # Of the revision that was checked, unless another one is expected.
        seen = changeset.revision if expected is None else expected
        return await self.store.act(changeset_id, "submit", actor, note, seen)

    async def apply(
        self, changeset_id: int, actor: Actor, note: str, expected: int | None, *, approvals: bool
    ) -> tuple[Changeset, Catalogue]:
        """Publish a change set as one version. Raises ``DocumentError`` with all that is wrong with it."""
        try:
            return await self.store.apply(changeset_id, actor, note, expected, approvals=approvals)
        except (Invalid, NotFound):
            _refuse((await self.check(await self.store.find(changeset_id))).mistakes)
            raise


def _refuse(mistakes: Sequence[Mistake]) -> None:
    if mistakes:
        Document([], [], [], {}, {}).refuse(mistakes)
