"""The jobs that watch decisions: guardrails and drift."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings
from app.worker.drift_watch import DriftWatch
from app.worker.guardrail_watch import GuardrailWatch
from decisioning.catalog.store import CatalogueStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.rollout.store_canary import CanaryStore
from decisioning.rollout.store_drift import DriftStore
from storage import clock


def watch_jobs(
    settings: Settings, engine: AsyncEngine, reader: LogReader
) -> dict[str, Callable[[], Awaitable[float]]]:
    """Return the rounds of these jobs by name."""
    archive = ArchiveReader(engine)
    guard_s, drift_s = settings.guard_interval_ms / 1000, settings.drift_interval_ms / 1000
    guard = GuardrailWatch(
        CanaryStore(engine), CatalogueStore(engine), reader, archive, clock.now_ms, guard_s
    )
    drift = DriftWatch(DriftStore(engine), reader, archive, clock.now_ms, drift_s, settings.drift_horizon_s)
    return {"guardrails": guard.round, "drift": drift.round}
