"""The catalogue in Postgres: a list of changes, the newest of each thing in force."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.catalog import Catalogue, ContactLimit, Group, Offer, Placement, Treatment
from decisioning.stores.postgres import transaction

_LOCK = 7_263_845_191

Entry = tuple[str, str, Mapping[str, Any]]


class CatalogueStore:
    """Reads catalogues, and appends changes to them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def version(self) -> int:
        """The newest version; 0 if nothing was ever published. Raises ``PostgresUnavailable``."""
        async with transaction(self._engine) as connection:
            return await _version(connection)

    async def load(self, version: int | None = None) -> Catalogue:
        """The catalogue at ``version``, by default the newest. Raises ``PostgresUnavailable``."""
        async with transaction(self._engine) as connection:
            return await _load(connection, version)

    async def put(self, kind: str, name: str, body: Mapping[str, Any], author: str) -> tuple[Catalogue, bool]:
        """Publish one thing. Returns the catalogue after it, and whether the thing is new.

        Raises
        ------
        Invalid
            If it refers to something that does not exist; nothing is changed then.
        PostgresUnavailable
            If it could not be stored.
        """
        async with transaction(self._engine) as connection:
            # One writer at a time, so that versions become visible in their order.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            if kind == "offer":
                await connection.execute(
                    text("INSERT INTO offers (offer_id) VALUES (:id) ON CONFLICT DO NOTHING"), {"id": name}
                )
            known = await connection.scalar(
                text("SELECT count(*) FROM catalog_entries WHERE kind = :kind AND id = :id"),
                {"kind": kind, "id": name},
            )
            await connection.execute(
                text(
                    "INSERT INTO catalog_entries (version, kind, id, body, author) VALUES"
                    " ((SELECT coalesce(max(version), 0) + 1 FROM catalog_entries),"
                    " :kind, :id, cast(:body AS jsonb), :author)"
                ),
                {"kind": kind, "id": name, "body": _json(body), "author": author},
            )
            catalogue = await _load(connection, None)
            catalogue.check()
            return catalogue, not known


def _json(body: Mapping[str, Any]) -> str:
    return to_json(body).decode()


async def _version(connection: AsyncConnection) -> int:
    return int(await connection.scalar(text("SELECT coalesce(max(version), 0) FROM catalog_entries")) or 0)


async def _load(connection: AsyncConnection, version: int | None) -> Catalogue:
    if version is None:
        version = await _version(connection)
    rows = await connection.execute(
        text(
            "SELECT DISTINCT ON (kind, id) kind, id, body FROM catalog_entries WHERE version <= :version"
            " ORDER BY kind, id, version DESC"
        ).columns(body=JSONB),
        {"version": version},
    )
    numbers = await connection.execute(text("SELECT offer_id, offer_no FROM offers"))
    return build(version, [(r.kind, r.id, r.body) for r in rows], {r.offer_id: r.offer_no for r in numbers})


def build(version: int, entries: list[Entry], numbers: Mapping[str, int]) -> Catalogue:
    """Make a catalogue of its entries. ``numbers`` maps offer ids to their stable numbers."""
    treatments: dict[str, list[Treatment]] = {}
    for kind, name, body in entries:
        if kind == "treatment":
            offer_id, _, treatment_id = name.partition("/")
            treatments.setdefault(offer_id, []).append(Treatment(treatment_id=treatment_id, **body))
    return Catalogue(
        version=version,
        groups={name: Group(group_id=name, **body) for kind, name, body in entries if kind == "group"},
        offers={
            name: _offer(name, body, numbers[name], treatments.get(name, []))
            for kind, name, body in entries
            if kind == "offer"
        },
        placements={
            name: Placement(
                placement_id=name, **(dict(body) | {"default_offers": tuple(body["default_offers"])})
            )
            for kind, name, body in entries
            if kind == "placement"
        },
    )


def _offer(name: str, body: Mapping[str, Any], number: int, treatments: list[Treatment]) -> Offer:
    limits = tuple(ContactLimit(**limit) for limit in body["contact_limits"])
    return Offer(
        offer_id=name,
        number=number,
        treatments=tuple(sorted(treatments, key=lambda t: t.treatment_id)),
        **(dict(body) | {"contact_limits": limits}),
    )
