"""The jobs that watch what is decided: guardrails and drift."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings
from app.worker.drift_watch import DriftJob
from app.worker.guardrail_watch import Guard
from decisioning.catalog.store import CatalogueStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.rollout.store_canary import CanaryStore
from decisioning.rollout.store_drift import DriftStore
from storage import clock


def watches(
    settings: Settings, engine: AsyncEngine, reader: LogReader
) -> dict[str, Callable[[], Awaitable[float]]]:
    """The rounds of these jobs, by name."""
    archive = ArchiveReader(engine)
    guard = Guard(
        *(CanaryStore(engine), CatalogueStore(engine), reader, archive),
        *(clock.now_ms, settings.guard_interval_ms / 1000),
    )
    drift = DriftJob(
        *(DriftStore(engine), reader, archive, clock.now_ms),
        *(settings.drift_interval_ms / 1000, settings.drift_horizon_s),
    )
    return {"guardrails": guard.round, "drift": drift.round}
