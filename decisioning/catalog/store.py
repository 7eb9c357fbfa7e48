"""The catalogue in Postgres: a list of changes, of which the newest of each thing is in force."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checking.losses import check_confirmed, inherited_losses, losses_between
from decisioning.catalog.checking.mistakes import find_mistakes
from decisioning.catalog.checks import Mistake
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import ATTRIBUTE, KINDS
from decisioning.catalog.store_checks import (
    check_deployments,
    check_life,
    check_never_published,
    deployments_gone,
    life_mistakes,
    treatments_gone,
)
from decisioning.catalog.store_entries import (
    build_in_thread,
    load_catalogue,
    read_bodies,
    read_changed,
    read_entries,
    read_entry,
    read_version,
)
from decisioning.errors import Invalid, NotFound, PreconditionFailed
from decisioning.treatments.store_search import index_treatment, rebuild_search
from storage.locks import CATALOGUE_LOCK
from storage.postgres import single_statement, transaction, where

MAX_INDEXED_SINGLY = 100
"""If more treatments are changed at once, the index of texts is rebuilt as a whole."""
ANY_VERSION = -1
"""The expected version of something that must exist, at whatever version."""
_WITHOUT_APPROVAL = "without approval"

_INSERT = text(
    "INSERT INTO catalog_entries (version, kind, id, body, author, reason)"
    " VALUES (:version, :kind, :id, cast(:body AS jsonb), :author, :reason)"
)


@dataclass(frozen=True, slots=True)
class Published:
    """A change that is in force: the catalogue after it, the version of its last entry, and whether a thing is new."""

    catalogue: Catalogue
    version: int
    new: bool


@dataclass(frozen=True, slots=True)
class Trail:
    """One entry of the audit trail: a thing before and after a change, its author, time and reason."""

    version: int
    kind: str
    name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    author: str
    reason: str
    changed_at: datetime


MAX_AT_HAND = 3
"""So many catalogues are kept of those that were asked for by their version: building one of thousands of offers takes
a third of a second."""


class CatalogueStore:
    """Reads catalogues, and appends changes to them. All methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._at_hand: dict[int, Catalogue] = {}

    async def version(self) -> int:
        """Return the newest version; 0 if nothing was ever published."""
        async with single_statement(self._engine) as connection:
            return await read_version(connection)

    async def load_newer(self, known: Catalogue | None) -> Catalogue:
        """Load the catalogue in force, unless it is the one that is ``known``. Raises ``PostgresUnavailable``."""
        if known is not None and await self.version() <= known.version:
            return known
        return await self.load()

    async def load(self, version: int | None = None) -> Catalogue:
        """Load the catalogue at ``version``, by default the newest.

        A version never changes, so the last ones that were asked for, or given to ``keep_at_hand``, are not built anew.
        """
        if version is not None and version in self._at_hand:
            self.keep_at_hand(self._at_hand[version])
            return self._at_hand[version]
        async with transaction(self._engine) as connection:
            catalogue = await load_catalogue(connection, version)
        if version is not None:
            self.keep_at_hand(catalogue)
        return catalogue

    def keep_at_hand(self, catalogue: Catalogue) -> None:
        """Keep a catalogue for ``load``, such as the one in force, which is in memory anyway."""
        self._at_hand.pop(catalogue.version, None)
        self._at_hand[catalogue.version] = catalogue
        if len(self._at_hand) > MAX_AT_HAND:
            del self._at_hand[next(iter(self._at_hand))]  # the one that was asked for longest ago

    async def entries(self, version: int | None = None) -> tuple[int, list[Entry]]:
        """Return the version, and the entries in force at it, but for kinds that are not in files."""
        async with transaction(self._engine) as connection:
            found = await read_version(connection) if version is None else version
            rows, _ = await read_entries(connection, found)
            return found, [
                (r.kind, r.id, r.body) for r in rows if r.body is not None and _is_in_files(r.kind)
            ]

    async def newest(self, kind: str, name: str) -> tuple[int, Mapping[str, Any]]:
        """Return version and body of a thing that is in force. Raises ``NotFound``."""
        async with transaction(self._engine) as connection:
            current = await read_entry(connection, kind, name)
        if current is None:
            raise NotFound(kind, name)
        return current

    async def identifiers(self) -> list[str]:
        """Return the names of the attributes by which customers are searched for."""
        async with single_statement(self._engine) as connection:
            bodies = await read_bodies(connection, ATTRIBUTE.name, "true")
        return [path.removeprefix("customer.") for path, body in bodies.items() if body.get("identifier")]

    async def changed(self, version: int, changes: Sequence[Entry], *, checked: bool = True) -> Catalogue:
        """Build the catalogue that ``changes`` would make of that at ``version``; nothing is stored.

        New offers get numbers that nobody has. ``checked``: hold expressions to their bound of cost.
        Raises ``Invalid``.
        """
        for kind, _, _ in changes:
            _check_kind(kind)
        async with transaction(self._engine) as connection:
            merged, numbers = await read_changed(connection, version, changes)
        catalogue = await build_in_thread(version, merged, numbers)
        if checked:
            catalogue.check_new(changes)
        return catalogue

    async def tried(self, version: int, changes: Sequence[Entry]) -> Catalogue:
        """Build what ``changes`` make as ``changed`` does, and hold offers to their life cycle, as ``apply`` does."""
        async with transaction(self._engine) as connection:
            await check_life(connection, changes)
        return await self.changed(version, changes)

    async def mistakes(
        self,
        version: int,
        changes: Sequence[Entry],
        unread: Sequence[tuple[str, str]] = (),
        *,
        checked: bool = True,
    ) -> list[Mistake]:
        """Find all for which ``changed`` and ``apply`` refuse changes of the catalogue at ``version``.

        ``unread``: things among the changes that could not be read. ``checked``: as for ``append_entries``.
        """
        async with transaction(self._engine) as connection:
            merged, numbers = await read_changed(connection, version, changes)
            found = await life_mistakes(connection, changes) if checked else []
        new = changes if checked else ()
        return [*found, *await asyncio.to_thread(find_mistakes, merged, numbers, new, unread)]

    async def put(
        self,
        kind: str,
        name: str,
        body: Mapping[str, Any] | None,
        author: str,
        reason: str = "",
        expected: int | None = None,
        also: Callable[[AsyncConnection], Awaitable[None]] | None = None,
        confirmed: Collection[str] = (),
    ) -> Published:
        """Publish one thing, or delete it (without a body).

        ``expected`` is the version of its newest entry, 0 if it must not exist yet, ``ANY_VERSION`` if it must exist.
        ``also`` writes more in the same transaction: both are stored, or neither. ``confirmed``: the protective fields,
        or their words, that the new body may lack.

        Raises ``Invalid`` if the catalogue would not be right (nothing is changed then), ``PreconditionFailed`` if
        somebody else has changed it since ``expected``, ``NotFound`` if there is nothing to delete, no offer for a
        treatment, no placement or policy for a deployment, and ``Conflict`` if an offer is to be deleted that was more
        than a draft at any time: the log refers to it. Raises ``UnconfirmedRemoval`` if protective fields would be lost
        that are not ``confirmed``, or without the version in ``expected``: ``ANY_VERSION`` does not say what was seen.
        """
        async with open_writing(self._engine) as connection:
            current = await _read_expected(connection, kind, name, expected)
            if body is None and current is None:
                raise NotFound(kind, name)
            changes: list[Entry] = [(kind, name, body)]
            if kind == "offer" and body is None:
                await check_never_published(connection, name)
                changes = [*await treatments_gone(connection, name), *changes]
            catalogue = await append_entries(connection, changes, author, reason)
            # After the body has been found right; what was appended is taken back with the transaction.
            before = None if current is None else current[1]
            version_is_known = expected not in (None, ANY_VERSION)
            losses = losses_between(KINDS[kind], name, before, body)
            losses += inherited_losses(KINDS[kind], name, before, body, catalogue)
            check_confirmed(_called(kind, name), losses, confirmed, version_is_known=version_is_known)
            if also is not None:
                await also(connection)
            return Published(catalogue, catalogue.version, current is None)

    async def change(
        self,
        kind: str,
        name: str,
        change: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        author: str,
        reason: str = "",
        expected: int | None = None,
    ) -> Published:
        """Publish what ``change`` makes of the body of a thing; nobody else changes it in between.

        Raises what ``put`` raises, and whatever ``change`` does; nothing is stored then. Protective fields may be lost:
        whoever changes single fields has named them.
        """
        async with open_writing(self._engine) as connection:
            current = await _read_expected(connection, kind, name, expected)
            if current is None:
                raise NotFound(kind, name)
            catalogue = await append_entries(connection, [(kind, name, change(current[1]))], author, reason)
            return Published(catalogue, catalogue.version, False)

    async def apply(
        self, changes: Sequence[Entry], author: str, reason: str, expected_version: int | None = None
    ) -> Catalogue:
        """Publish many changes at once, all or none.

        Raises ``Invalid`` if the catalogue would not be right; ``PreconditionFailed`` if the catalogue is not at
        ``expected_version`` any more.
        """
        async with open_writing(self._engine) as connection:
            version = await read_version(connection)
            if expected_version is not None and expected_version != version:
                raise PreconditionFailed(_moved("the catalogue", version, expected_version))
            return await append_entries(connection, changes, author, reason)

    async def rollback(self, version: int, author: str, reason: str) -> Catalogue:
        """Make what was in force at ``version`` the newest version: by new entries, history stays as it is.

        Raises ``Invalid`` if there was no such version.
        """
        async with open_writing(self._engine) as connection:
            newest = await read_version(connection)
            if not 0 <= version <= newest:
                raise Invalid("version", f"there are versions 0 to {newest}")
            then = {(r.kind, r.id): r.body for r in (await read_entries(connection, version))[0]}
            now = {(r.kind, r.id): r.body for r in (await read_entries(connection, newest))[0]}
            changes = [
                (kind, name, then.get((kind, name)))
                for kind, name in sorted(now)
                if now[kind, name] != then.get((kind, name)) and _is_in_files(kind)
            ]
            # Going back is the way to bring back what was ended, so the life cycle does not bind it.
            return await append_entries(connection, changes, author, reason, checked=False)

    async def rebuild_search(self) -> int:
        """Make the index of scripts again from the newest catalogue; returns the number of texts in it."""
        async with open_writing(self._engine) as connection:
            catalogue = await load_catalogue(connection, None)
            return await rebuild_search(connection, catalogue.offers.values())

    async def trail(
        self,
        *,
        before: int | None = None,
        kind: str | None = None,
        name: str | None = None,
        limit: int = 100,
        whole: bool = True,
    ) -> list[Trail]:
        """Return the audit trail, newest first: entries under version ``before``, of one kind or one thing if given.

        At least ``limit`` if there are so many, and all of the last version that is among them; not ``whole``: no more.
        """
        condition, values = where({"version <": before, "kind =": kind, "id =": name})
        query = text(
            "SELECT version, kind, id, body, author, reason, changed_at, ("
            " SELECT e.body FROM catalog_entries e WHERE e.kind = c.kind AND e.id = c.id AND e.version < c.version"
            " ORDER BY e.version DESC LIMIT 1) AS before"
            # A version is shown as a whole, or those behind it could not be asked for.
            f" FROM catalog_entries c {condition} ORDER BY version DESC{'' if whole else ', kind, id'}"
            f" FETCH FIRST (:limit) ROWS {'WITH TIES' if whole else 'ONLY'}"
        ).columns(body=JSONB, before=JSONB)
        async with transaction(self._engine) as connection:
            rows = await connection.execute(query, values | {"limit": limit})
            return [
                Trail(r.version, r.kind, r.id, r.before, r.body, r.author, r.reason, r.changed_at)
                for r in rows
            ]


def told_alone(reason: str) -> str:
    """Return the reason, for the audit trail, for a change that nobody else approved where that is required."""
    return f"{_WITHOUT_APPROVAL}: {reason}" if reason else _WITHOUT_APPROVAL


@asynccontextmanager
async def open_writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction of the only writer of the catalogue."""
    # One at a time: readers poll for versions above the last, so a lower one must never become visible later.
    async with transaction(engine) as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": CATALOGUE_LOCK})
        yield connection


async def append_entries(
    connection: AsyncConnection, changes: Sequence[Entry], author: str, reason: str, *, checked: bool = True
) -> Catalogue:
    """Append entries in a writer's transaction, as one version, and check the catalogue that comes out.

    ``checked``: hold offers to their life cycle, and expressions to their bound of cost.
    """
    for kind, _, _ in changes:
        _check_kind(kind)
    if checked:
        await check_life(connection, changes)
    await check_deployments(connection, changes)
    changes = [*await deployments_gone(connection, changes), *changes]
    # Offers keep their number for ever, also over deletion: the log and the arms know them by it.
    offers = [{"id": name} for kind, name, _ in changes if kind == "offer"]
    if offers:
        await connection.execute(
            text("INSERT INTO offers (offer_id) VALUES (:id) ON CONFLICT DO NOTHING"), offers
        )
    # One version for all of them: none names a state in the middle of a change.
    version = 1 + await read_version(connection)
    rows = [
        {
            "version": version,
            "kind": kind,
            "id": name,
            "body": None if body is None else to_json(body).decode(),
            "author": author,
            "reason": reason,
        }
        for kind, name, body in changes
    ]
    if rows:
        await connection.execute(_INSERT, rows)
    # Loaded from what was just written: if the result is not right, the transaction takes all of it back.
    catalogue = await load_catalogue(connection, None)
    if checked:
        catalogue.check_new(changes)
    for kind, name, body in changes:
        if kind == "deployment" and body is not None:
            catalogue.view(name)
    await _index(connection, changes, catalogue)
    return catalogue


async def _index(connection: AsyncConnection, changes: Sequence[Entry], catalogue: Catalogue) -> None:
    """Index the texts of changed treatments for search. Raises ``NotFound`` for those without an offer."""
    treatments = [(*name.partition("/")[::2], body) for kind, name, body in changes if kind == "treatment"]
    for offer_id, _, body in treatments:
        if body is not None and offer_id not in catalogue.offers:
            raise NotFound("offer", offer_id)
    if len(treatments) > MAX_INDEXED_SINGLY:
        await rebuild_search(connection, catalogue.offers.values())
        return
    for offer_id, treatment_id, body in treatments:
        await index_treatment(connection, offer_id, treatment_id, body)


async def _read_expected(
    connection: AsyncConnection, kind: str, name: str, expected: int | None
) -> tuple[int, Mapping[str, Any]] | None:
    """Read a thing that is to be changed. Raises ``PreconditionFailed`` if it is not at the ``expected`` version."""
    current = await read_entry(connection, kind, name)
    in_force = 0 if current is None else current[0]
    if expected == ANY_VERSION and current is None:
        raise PreconditionFailed(f"{_called(kind, name)} does not exist")
    if expected not in (None, ANY_VERSION, in_force):
        raise PreconditionFailed(_moved(_called(kind, name), in_force, expected))
    return current


def _called(kind: str, name: str) -> str:
    return f"{kind} {name!r}"


def _moved(what: str, version: int, expected: int | None) -> str:
    if expected == 0:
        return f"{what} is there already, at version {version}"
    now = f"at version {version} by now" if version else "not there any more"
    return f"{what} is {now}, not at {expected}"


def _is_in_files(kind: str) -> bool:
    # A kind that is not known here stays in, so that it is refused by name and not passed over.
    return kind not in KINDS or KINDS[kind].in_files


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise Invalid("kind", f"{kind!r} is not a kind; there are {', '.join(sorted(KINDS))}")
