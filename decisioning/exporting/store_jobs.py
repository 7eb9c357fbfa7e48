"""Exports that were asked for through the API."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from msgspec import convert
from sqlalchemy import text

from decisioning.evaluation.store_jobs import JobStore
from decisioning.exporting.export_service import ExportRequest
from storage.postgres import transaction

RETENTION_DAYS = 7


def folder_name(export_id: str, installation: str) -> str:
    """Name the folder of an export. Installations may share the folder that these are in: each knows its own."""
    return f"{export_id}-{installation}"


class ExportStore(JobStore):
    """Exports; ``seen`` and ``total`` are days. Methods raise ``PostgresUnavailable``."""

    noun = "export"
    retention_days = RETENTION_DAYS

    async def ids(self) -> set[str]:
        """Return the ids of all that are kept."""
        async with transaction(self._engine) as connection:
            return set(await connection.scalars(text("SELECT export_id FROM exports")))

    async def with_files(self) -> dict[str, tuple[str, str]]:
        """Return the kind and the state of all exports that have files, or are about to: by id."""
        query = text(
            "SELECT export_id, request ->> 'kind' AS kind, state FROM exports WHERE state <> 'waiting'"
        )
        async with transaction(self._engine) as connection:
            return {row.export_id: (row.kind, row.state) for row in await connection.execute(query)}

    async def forget(self, export_ids: Collection[str]) -> None:
        """Forget exports: they and their files are not found from now on."""
        query = text("DELETE FROM exports WHERE export_id = ANY(:ids)")
        async with transaction(self._engine) as connection:
            await connection.execute(query, {"ids": list(export_ids)})

    async def installation(self) -> str:
        """Return the id of this installation, which is in the names of its folders."""
        async with transaction(self._engine) as connection:
            return str((await connection.execute(text("SELECT id FROM installation"))).scalar_one())


def as_json(request: ExportRequest) -> dict[str, Any]:
    """Make plain JSON of a request."""
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in asdict(request).items()
    }


def from_json(kept: Mapping[str, Any]) -> ExportRequest:
    """Read a request: the inverse of ``as_json``."""
    return convert(kept, ExportRequest)
