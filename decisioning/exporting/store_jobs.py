"""Exports that were asked for through the API."""

from collections.abc import Mapping
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
