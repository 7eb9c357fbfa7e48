"""The jobs that watch what is decided: guardrails and drift."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings
from app.state import clock_ms
from app.worker.drift import DriftJob
from app.worker.guard import Guard
from decisioning.stores.archive import ArchiveReader
from decisioning.stores.catalogue import CatalogueStore
from decisioning.stores.drift import DriftStore
from decisioning.stores.guard import CanaryStore
from decisioning.stores.streams import LogReader


def watches(
    settings: Settings, engine: AsyncEngine, reader: LogReader
) -> dict[str, Callable[[], Awaitable[float]]]:
    """The rounds of these jobs, by name."""
    archive = ArchiveReader(engine)
    guard = Guard(
        *(CanaryStore(engine), CatalogueStore(engine), reader, archive),
        *(clock_ms, settings.guard_interval_ms / 1000),
    )
    drift = DriftJob(
        *(DriftStore(engine), reader, archive, clock_ms),
        *(settings.drift_interval_ms / 1000, settings.drift_horizon_s),
    )
    return {"guardrails": guard.round, "drift": drift.round}
