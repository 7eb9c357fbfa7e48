"""Exports: for the command line, and asked for through the API, each in a process of its own."""

import asyncio
import logging
import re
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.config import ConfigError, Settings, get_settings
from app.worker.evaluation_runs import fail_ended, run_module, telling_progress
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import Busy, DecisioningError
from decisioning.exporting.day_files import load_notes
from decisioning.exporting.export_service import Exported, ExportRequest, export
from decisioning.exporting.store_jobs import ExportStore, folder_name, from_json
from decisioning.exporting.store_sources import source_of
from decisioning.exporting.withholding_service import Withholding
from decisioning.learning.store_arms import ArmStore
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from rules.classification import classified
from storage import clock
from storage.errors import StorageError
from storage.keys import Keys
from storage.postgres import PATIENT_S, make_engine
from storage.redis import make_redis

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
TIMEOUT_S = 24 * 3600.0
SWEEP_INTERVAL_S = 120.0
FOLDER = re.compile(r"(ex-[0-9a-f]{16})-(.+)")


@dataclass
class ExportRunner:
    """Run what was asked for, one at a time. ``run`` does an export, and returns 0 if it came to an end."""

    store: ExportStore
    run: Callable[[str], Awaitable[int]]

    async def round(self) -> float:
        """Run the next export; return how long to sleep. Raises ``PostgresUnavailable``."""
        taken = await self.store.take()
        if taken is None:
            return INTERVAL_S
        status = await self.run(taken)
        if status:
            await fail_ended(self.store, taken, f"its process ended with {status}")
        return 0.0


@dataclass
class ExportSweeper:
    """Remove what is too old, or of somebody who was erased, from ``folder``: also while a long export is running."""

    store: ExportStore
    folder: Path

    async def round(self) -> float:
        """Remove it; return how long to sleep. Raises ``PostgresUnavailable``."""
        await sweep(self.store, self.folder)
        return SWEEP_INTERVAL_S


async def run_in_process(export_id: str) -> int:
    """Run an export in a process of its own, with the environment of this one; return its exit status."""
    return await run_module("app.worker.export_runs", export_id, TIMEOUT_S)


async def run_export(settings: Settings, export_id: str) -> None:
    """Run a kept export, and keep its list of files, or why there is none. Raises ``PostgresUnavailable``.

    Its folder is named by its id and the installation's: should its worker die, the next one goes on in it. One that
    is being written there already is left to who writes it.
    """
    if settings.postgres_url is None:
        raise ConfigError("set NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL")
    # Three: the claim keeps a connection until the end.
    engine = make_engine(settings.postgres_url, pool_size=3)
    store = ExportStore(engine)
    try:
        async with store.claim(export_id) as mine:
            if mine:
                await _run_claimed(settings, store, export_id)
            else:
                log.warning("the export %s is left: another process runs it, or has ended it", export_id)
    finally:
        await engine.dispose()


async def _run_claimed(settings: Settings, store: ExportStore, export_id: str) -> None:
    try:
        request = from_json((await store.get(export_id)).request)
        folder = settings.export_dir / folder_name(export_id, await store.installation())
        async with telling_progress(store, export_id) as note_progress:
            exported = await export_to(settings, request, folder, note_progress)
        files = await asyncio.to_thread(files_in, folder / request.kind)
        await store.end(export_id, asdict(exported) | {"files": files}, exported.days)
    except Busy:
        # Its first process could not say that it is alive; it still writes, and keeps the list itself. Should it die,
        # the export is taken again.
        log.warning("the export %s is left to the process that writes it already", export_id)
    except (DecisioningError, StorageError, OSError) as error:
        await store.fail(export_id, str(error))


def files_in(folder: Path) -> list[dict[str, Any]]:
    """List the files of an export by day, with their rows and sizes."""
    found = []
    for day in sorted(folder.glob("day=*")):
        notes = load_notes(day)
        for part in () if notes is None else notes.parts:
            size = (day / part.file).stat().st_size
            found.append(
                {"day": day.name.removeprefix("day="), "name": part.file, "rows": part.rows, "bytes": size}
            )
    return found


async def sweep(store: ExportStore, folder: Path) -> None:
    """Forget exports that are too old, and remove this installation's folders of forgotten ones; others stay."""
    await store.forget_old()
    installation = await store.installation()
    # Listed before it is asked what is kept: an export that is asked for meanwhile does not lose its folder.
    found = await asyncio.to_thread(lambda: [path.name for path in folder.glob("ex-*")])
    kept = await store.ids()
    for name in found:
        parts = FOLDER.fullmatch(name)
        if parts is not None and parts[2] == installation and parts[1] not in kept:
            await asyncio.to_thread(shutil.rmtree, folder / name, ignore_errors=True)


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
        source = source_of(request.kind, engine, ArmStore(redis, Keys(settings.buckets)), roster, now_ms)
        if not request.has_sensitive and request.kind != "arms":
            attributes = (await CatalogueStore(engine).load()).attributes.values()
            if hidden := classified(attributes, "sensitive"):
                source = Withholding(source, hidden)
        return await export(request, source, folder, now_ms, on_progress)
    finally:
        await redis.aclose()
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(run_export(get_settings(), sys.argv[1]))
