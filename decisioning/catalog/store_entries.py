"""Reading the catalogue's entries from Postgres, and building catalogues of them."""

import asyncio
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

from pydantic_core import from_json
from sqlalchemy import Row, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from decisioning.catalog.catalogue import Catalogue, build_catalogue
from decisioning.catalog.kind import Entry

_BUILDING = Lock()


class StoredEntry(NamedTuple):
    """The newest entry of a thing; deleted without a body."""

    kind: str
    id: str
    version: int
    body: Mapping[str, Any] | None


async def read_entry(
    connection: AsyncConnection, kind: str, name: str
) -> tuple[int, Mapping[str, Any]] | None:
    """Return version and body of a thing that is in force."""
    query = text(
        "SELECT version, body FROM catalog_entries WHERE kind = :kind AND id = :id ORDER BY version DESC LIMIT 1"
    ).columns(body=JSONB)
    row = (await connection.execute(query, {"kind": kind, "id": name})).first()
    return None if row is None or row.body is None else (row.version, row.body)


async def read_bodies(
    connection: AsyncConnection, kind: str, where: str, **values: Any
) -> dict[str, Mapping[str, Any]]:
    """Return the bodies of the things of a kind that are in force, by id.

    ``where``: a condition on ``id``; or ``body IS NOT NULL``, for those that were deleted as well, as they were last.
    """
    query = text(
        f"SELECT DISTINCT ON (id) id, body FROM catalog_entries WHERE kind = :kind AND {where}"
        " ORDER BY id, version DESC"
    ).columns(body=JSONB)
    rows = await connection.execute(query, {"kind": kind, **values})
    return {row.id: row.body for row in rows if row.body is not None}


async def read_version(connection: AsyncConnection) -> int:
    """Return the newest version; 0 if nothing was ever published."""
    return int(await connection.scalar(text("SELECT coalesce(max(version), 0) FROM catalog_entries")) or 0)


async def load_catalogue(connection: AsyncConnection, version: int | None) -> Catalogue:
    """Load the catalogue at ``version``, by default the newest."""
    if version is None:
        version = await read_version(connection)
    rows, numbers = await read_entries(connection, version)
    versions = {(r.kind, r.id): r.version for r in rows if r.body is not None}
    return await build_in_thread(version, [(r.kind, r.id, r.body) for r in rows], numbers, versions)


async def read_entries(connection: AsyncConnection, version: int) -> tuple[list[StoredEntry], dict[str, int]]:
    """Return the newest entries of all things at ``version``, and the numbers of all offers."""
    query = text(
        "SELECT DISTINCT ON (kind, id) kind, id, version, body::text AS body FROM catalog_entries"
        " WHERE version <= :version ORDER BY kind, id, version DESC"
    )
    rows = (await connection.execute(query, {"version": version})).all()
    numbers = await connection.execute(text("SELECT offer_id, offer_no FROM offers"))
    return await asyncio.to_thread(_parse, rows), {r.offer_id: r.offer_no for r in numbers}


async def read_changed(
    connection: AsyncConnection, version: int, changes: Sequence[Entry]
) -> tuple[list[Entry], dict[str, int]]:
    """Return the entries that ``changes`` make of those at ``version``, and numbers of all offers, new ones too."""
    rows, numbers = await read_entries(connection, version)
    merged: dict[tuple[str, str], Mapping[str, Any] | None] = {(r.kind, r.id): r.body for r in rows}
    for kind, name, body in changes:
        merged[kind, name] = body
        if kind == "offer" and name not in numbers:
            numbers[name] = 1 + max(numbers.values(), default=0)
    return [(kind, name, body) for (kind, name), body in merged.items()], numbers


def _parse(rows: Sequence[Row[Any]]) -> list[StoredEntry]:
    return [StoredEntry(r.kind, r.id, r.version, None if r.body is None else from_json(r.body)) for r in rows]


async def build_in_thread(
    version: int,
    entries: Sequence[Entry],
    numbers: Mapping[str, int],
    versions: Mapping[tuple[str, str], int] | None = None,
) -> Catalogue:
    """Run ``build_catalogue`` in a thread, because requests are answered meanwhile."""

    def build() -> Catalogue:
        with _BUILDING:  # one at a time, so that several do not crowd requests out
            return build_catalogue(version, entries, numbers, versions)

    return await asyncio.to_thread(build)
