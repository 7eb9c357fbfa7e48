"""Exports: for the command line, and asked for through the API, each in a process of its own."""

from collections.abc import Callable
from pathlib import Path

from app.config import ConfigError, Settings
from decisioning.exporting.export_service import Exported, ExportRequest, export
from decisioning.exporting.store_sources import source_of
from decisioning.learning.store_arms import ArmStore
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from storage import clock
from storage.keys import Keys
from storage.postgres import PATIENT_S, make_engine
from storage.redis import make_redis


async def export_to(
    settings: Settings, request: ExportRequest, folder: Path, on_progress: Callable[[int, int], None]
) -> Exported:
    """Export to a folder; see ``export_service.export``. Raises ``StorageError`` if a store does not answer."""
    if settings.postgres_url is None or settings.redis_url is None:
        raise ConfigError("set NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL")
    engine = make_engine(settings.postgres_url, pool_size=3, statement_s=PATIENT_S)
    redis = make_redis(settings.redis_url)
    try:
        roster, now_ms = Roster(), clock.now_ms()
        if request.kind == "arms":
            await RosterFeed(PolicyStore(engine), roster).refresh()
        arms = ArmStore(redis, Keys(settings.buckets))
        return await export(
            request, source_of(request.kind, engine, arms, roster, now_ms), folder, now_ms, on_progress
        )
    finally:
        await redis.aclose()
        await engine.dispose()
