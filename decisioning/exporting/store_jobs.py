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


class ExportStore(JobStore):
    """Exports; ``seen`` and ``total`` are days. Methods raise ``PostgresUnavailable``."""

    noun = "export"
    retention_days = RETENTION_DAYS

    async def ids(self) -> set[str]:
        """Return the ids of all that are kept."""
        async with transaction(self._engine) as connection:
            return set(await connection.scalars(text("SELECT export_id FROM exports")))


def as_json(request: ExportRequest) -> dict[str, Any]:
    """Make plain JSON of a request."""
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in asdict(request).items()
    }


def from_json(kept: Mapping[str, Any]) -> ExportRequest:
    """Read a request: the inverse of ``as_json``."""
    return convert(kept, ExportRequest)
