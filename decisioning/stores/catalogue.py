"""The catalogue in Postgres: a list of changes, the newest of each thing in force."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.catalog import Catalogue
from decisioning.catalog.model import (
    Capacity,
    ContactPolicy,
    ContextWeight,
    Group,
    Offer,
    Override,
    Placement,
    QuietHours,
    Segment,
    Treatment,
)
from decisioning.errors import Invalid
from decisioning.stores.postgres import transaction
from rules.vocabulary import Attribute

_LOCK = 7_263_845_191

Entry = tuple[str, str, Mapping[str, Any] | None]


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

    async def changed(self, version: int, changes: Iterable[Entry]) -> Catalogue:
        """What the catalogue at ``version`` would be with ``changes``; nothing is stored.

        New offers get numbers that nobody has. Raises ``Invalid`` and ``PostgresUnavailable``.
        """
        async with transaction(self._engine) as connection:
            entries, numbers = await _entries(connection, version)
        merged = {(kind, name): body for kind, name, body in entries}
        for kind, name, body in changes:
            if kind not in KINDS:
                raise Invalid("changes", f"{kind!r} is not a kind; there are {', '.join(sorted(KINDS))}")
            merged[kind, name] = body
            if kind == "offer" and name not in numbers:
                numbers[name] = 1 + max(numbers.values(), default=0)
        try:
            return build(version, [(kind, name, body) for (kind, name), body in merged.items()], numbers)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise Invalid(f"changes.{field}", first["msg"]) from None

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
            return catalogue, not known


def _json(body: Mapping[str, Any]) -> str:
    return to_json(body).decode()


async def _version(connection: AsyncConnection) -> int:
    return int(await connection.scalar(text("SELECT coalesce(max(version), 0) FROM catalog_entries")) or 0)


async def _load(connection: AsyncConnection, version: int | None) -> Catalogue:
    if version is None:
        version = await _version(connection)
    return build(version, *await _entries(connection, version))


async def _entries(connection: AsyncConnection, version: int) -> tuple[list[Entry], dict[str, int]]:
    rows = await connection.execute(
        text(
            "SELECT DISTINCT ON (kind, id) kind, id, body FROM catalog_entries WHERE version <= :version"
            " ORDER BY kind, id, version DESC"
        ).columns(body=JSONB),
        {"version": version},
    )
    numbers = await connection.execute(text("SELECT offer_id, offer_no FROM offers"))
    return [(r.kind, r.id, r.body) for r in rows], {r.offer_id: r.offer_no for r in numbers}


_KINDS: Mapping[str, tuple[str, str, TypeAdapter[Any]]] = {
    "group": ("groups", "group_id", TypeAdapter(Group)),
    "placement": ("placements", "placement_id", TypeAdapter(Placement)),
    "attribute": ("attributes", "path", TypeAdapter(Attribute)),
    "segment": ("segments", "segment_id", TypeAdapter(Segment)),
    "contact_policy": ("contact_policies", "policy_id", TypeAdapter(ContactPolicy)),
    "quiet_hours": ("quiet_hours", "quiet_id", TypeAdapter(QuietHours)),
    "capacity": ("capacities", "capacity_id", TypeAdapter(Capacity)),
    "override": ("overrides", "override_id", TypeAdapter(Override)),
    "context_weight": ("context_weights", "weight_id", TypeAdapter(ContextWeight)),
}
KINDS = frozenset({"offer", "treatment", "goal", *_KINDS})
_OFFER = TypeAdapter(Offer)
_TREATMENT = TypeAdapter(Treatment)


def build(version: int, entries: Iterable[Entry], numbers: Mapping[str, int]) -> Catalogue:
    """Make a catalogue of its entries; entries without a body are deleted. ``numbers``: offer ids to numbers.

    Raises
    ------
    Invalid
        If the catalogue as a whole is not right.
    """
    parts: dict[str, dict[str, Any]] = {field: {} for field, _, _ in _KINDS.values()}
    treatments: dict[str, list[Treatment]] = {}
    offers: list[tuple[str, Mapping[str, Any]]] = []
    levers: dict[str, float] = {}
    for kind, name, body in entries:
        if body is None:
            continue
        if kind == "offer":
            offers.append((name, body))
        elif kind == "treatment":
            offer_id, _, treatment_id = name.partition("/")
            treatment = _TREATMENT.validate_python({**body, "treatment_id": treatment_id})
            treatments.setdefault(offer_id, []).append(treatment)
        elif kind == "goal":
            levers[name] = body["lever"]
        else:
            field, id_field, adapter = _KINDS[kind]
            parts[field][name] = adapter.validate_python({**body, id_field: name})
    return Catalogue(
        version=version,
        offers={
            name: _OFFER.validate_python(
                {
                    **body,
                    "offer_id": name,
                    "number": numbers[name],
                    "treatments": tuple(sorted(treatments.get(name, []), key=lambda t: t.treatment_id)),
                }
            )
            for name, body in offers
        },
        goal_levers=levers,  # type: ignore[arg-type]  # names are checked when they are saved
        **parts,
    )
