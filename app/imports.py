"""Bulk imports, as the API and the command line share them."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from app.state import ApiState
from decisioning.catalog.checks import check_suppression
from decisioning.catalog.kind import Sections
from decisioning.contact.signals import reason_name
from decisioning.learning.store_linearisation import LinearisationStore
from decisioning.log.import_service import HistoryImporter, PastDecision
from decisioning.merging.store_aliases import AliasStore
from profiles.customer import OfferScope
from profiles.importing.run import (
    ImportReport,
    ImportRun,
    open_consents,
    open_customers,
    open_history,
    open_propensities,
    open_registers,
    open_suppressions,
)
from profiles.importing.source import FileFormat
from profiles.privacy.store_actions import PrivacyTrail
from profiles.privacy.store_erasures import ErasureStore
from profiles.privacy.store_registers import RegisterStore
from storage.clock import DAY_MS, now_ms, to_datetime, to_ms
from storage.keys import ALL_PROFILES

Kind = Literal["customers", "consents", "propensities", "history", "suppressions", "registers"]
Progress = Callable[[int, int], None]


async def import_file(
    state: ApiState,
    kind: Kind,
    path: Path,
    file_format: FileFormat,
    on_progress: Progress | None = None,
    author: str = "",
) -> tuple[ImportReport, int | None]:
    """Load all rows of a file that are not refused, and note it in the trail. For history, also says how many were new.

    Raises ``ImportFileError``, and then nothing is loaded, or ``Unavailable``: the same file may be imported again.
    """
    report, new = await _load(state, kind, path, file_format, on_progress, author)
    counts: dict[str, Any] = {"rows": report.rows, "loaded": report.loaded, "refused": report.refused}
    await PrivacyTrail(state.engine).note("imported", None, author, kind=kind, **counts)
    return report, new


async def _load(
    state: ApiState,
    kind: Kind,
    path: Path,
    file_format: FileFormat,
    on_progress: Progress | None,
    author: str,
) -> tuple[ImportReport, int | None]:
    await state.refresh()
    known = state.numbers()
    if kind == "customers":
        catalogue = state.current_catalogue()
        run = await asyncio.to_thread(
            open_customers, path, file_format, catalogue.channels, catalogue.customer_types
        )
    elif kind == "consents":
        channels = state.current_catalogue().channels
        run = await asyncio.to_thread(open_consents, path, channels, to_datetime(now_ms()), file_format)
    elif kind == "propensities":
        run = await asyncio.to_thread(open_propensities, path, known.keys(), file_format)
    elif kind == "suppressions":
        catalogue = state.current_catalogue()
        check = partial(_missing_in_scope, catalogue.sections)
        names = {reason_id: reason_name(catalogue.reasons, reason_id) for reason_id in catalogue.reasons}
        run = await asyncio.to_thread(open_suppressions, path, check, file_format, names)
    elif kind == "registers":
        registers = [kept.register.register_id for kept in await RegisterStore(state.engine).all()]
        run = await asyncio.to_thread(open_registers, path, registers, file_format)
    else:
        latest_us = (now_ms() + DAY_MS) * 1000  # a day, for what is dated in the zone of a customer
        reasons = state.current_catalogue().reasons.keys()
        run = await asyncio.to_thread(open_history, path, known.keys(), file_format, latest_us, reasons)
    if kind not in ("suppressions", "registers"):
        run.kept_out = await ErasureStore(state.engine, state.profiles.cache).erased_ids()
    if kind == "consents":
        aliases, loop = AliasStore(state.engine), asyncio.get_running_loop()

        def became(visitors: Collection[str]) -> Mapping[str, str]:
            # Files are parsed in a thread.
            return asyncio.run_coroutine_threadsafe(aliases.became(visitors), loop).result()

        run.became = became
    if kind == "history":
        return await _import_history(state, run, on_progress)
    report = await state.bulk_loader.load(run, on_progress, author)
    if kind == "registers" and report.loaded:
        await state.profiles.cache.bury_all(ALL_PROFILES)
        await state.profiles.cache.settled()
    return report, None


def _missing_in_scope(sections: Sections, scope: OfferScope) -> str | None:
    """Say what a scope names that is not in the catalogue."""
    for mistake in check_suppression(scope, None, sections):
        return f"{mistake.field}: {mistake}"
    return None


async def _import_history(
    state: ApiState, run: ImportRun, on_progress: Progress | None
) -> tuple[ImportReport, int]:
    importer = HistoryImporter(
        state.decision_log, state.archive, state.keys, state.numbers(), state.current_catalogue().version
    )
    new = 0
    batches = run.batches()
    # Files are parsed in a thread: this process answers requests meanwhile.
    while (batch := await asyncio.to_thread(next, batches, None)) is not None:
        new += await importer.append([_past_decision(row) for row in batch.to_pylist()])
        if on_progress:
            on_progress(run.read, run.rows_total)
    # A worker linearises regressions anew when all of it is there.
    await LinearisationStore(state.engine).note_import(new)
    return await asyncio.to_thread(run.report), new


def _past_decision(row: dict[str, Any]) -> PastDecision:
    decided_ms = round(row.pop("decided_at").timestamp() * 1000)
    occurred, propensity = row.pop("occurred_at"), row.pop("propensity")
    return PastDecision(
        decided_at_ms=decided_ms,
        occurred_at_ms=decided_ms if occurred is None else to_ms(occurred),
        propensity=float("nan") if propensity is None else propensity,
        **row,
    )
