"""`nextbest import`, `replay` and `rebuild`: the log from the command line."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import typer

from app.api.imports.schemas import ImportAnswer
from app.commands.remote import Remote, remote
from app.commands.terminal import author, existing_servers, fail, progress_bar
from app.config import get_settings
from app.imports import Kind, import_file
from app.state import ApiState, open_state
from decisioning.errors import DecisioningError
from decisioning.evaluation.replay_service import Replayed
from decisioning.evaluation.replay_service import replay as replay_decision
from decisioning.log.store_sql import REBUILD_ACCEPTANCE
from decisioning.recovery.store_rebuild import Rebuilder, Rebuilt
from decisioning.reporting.days.store_roll_up import REBUILD_REPORT_DAYS
from decisioning.reporting.store_asked_days import REBUILD_ASKED_DAYS
from decisioning.reporting.store_event_report import REBUILD_EVENT_COUNTS
from profiles.errors import ImportFileError, ProfilesError
from profiles.importing.problems import Refusal
from profiles.importing.run import ImportReport
from profiles.importing.source import FileFormat, format_of_path
from storage import clock
from storage.errors import StorageError
from storage.postgres import PATIENT_S, make_engine, transaction

T = TypeVar("T")
CONTENT_TYPES: Mapping[FileFormat, str] = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


def with_state(work: Callable[[ApiState], Awaitable[T]]) -> T:
    """Run with the stores open; what is wrong is said in a line, with exit status 1."""

    async def run() -> T:
        async with open_state(get_settings()) as state:
            return await work(state)

    with existing_servers(get_settings()) as urls:
        # Embedded servers are not in the settings: those that are read next have their addresses.
        urls.export()
        try:
            return asyncio.run(run())
        except (DecisioningError, ProfilesError, StorageError) as error:
            fail(str(error))


def load_file(
    kind: Kind, path: Path, url: str | None = None, key: str | None = None, key_file: Path | None = None
) -> None:
    """Load a file, here or over HTTP; prints what was refused and why. Exit status 1 if anything was."""
    service = remote(url, key, key_file)
    report, new = _load_here(kind, path) if service is None else _send_file(service, kind, path)
    for refusal in report.refusals:
        typer.echo(_described(path, refusal), err=True)
    described = len({refusal.row for refusal in report.refusals})
    if report.refused > described:
        typer.echo(f"... and {report.refused - described} more rows", err=True)
    known = "" if new is None else f", {new} of them new"
    typer.echo(f"{kind}: {report.loaded} of {report.rows} rows loaded{known}, {report.refused} refused")
    if report.refused:
        raise typer.Exit(1)


def _described(path: Path, refusal: Refusal) -> str:
    """Describe a refusal by file and line (or row), the thing, the field, the reason and the value."""
    place = f"{path}: row {refusal.row}" if refusal.line is None else f"{path}:{refusal.line}"
    entity = refusal.entity
    if entity is not None and not entity.isprintable():
        entity = ascii(entity)  # it is what a file holds, and may hold anything
    parts = [part for part in (place, entity, refusal.field) if part]
    return f"{': '.join(parts)}: {refusal.reason} ({refusal.value!r})"


def _load_here(kind: Kind, path: Path) -> tuple[ImportReport, int | None]:
    """Load a file into this machine's database, with a progress bar."""

    async def work(state: ApiState) -> tuple[ImportReport, int | None]:
        try:
            with progress_bar(f"importing {kind}") as progress:
                return await import_file(state, kind, path, format_of_path(path), progress, author())
        except ImportFileError as error:
            fail(_mistakes(path, error))

    return with_state(work)


def _mistakes(path: Path, error: ImportFileError) -> str:
    """Describe all mistakes of a file as a whole, a line each: its name, the line, the column, and the reason."""
    lines = []
    for mistake in error.mistakes:
        place = str(path) if mistake.line is None else f"{path}:{mistake.line}"
        lines.append(": ".join(part for part in (place, mistake.field, str(mistake)) if part))
    return "\n".join(
        lines if len(lines) == 1 else [f"{path} has {len(lines)} mistakes; nothing was changed", *lines]
    )


def _send_file(service: Remote, kind: Kind, path: Path) -> tuple[ImportReport, int | None]:
    """Send a file to a service, piece by piece."""
    try:
        content_type = CONTENT_TYPES[format_of_path(path)]
        with path.open("rb") as file:
            headers = {"Content-Type": content_type}
            response = service.call(
                "POST", f"/v1/imports/{kind}", headers=headers, content=file, file=str(path)
            )
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except ProfilesError as error:
        fail(str(error))
    found = ImportAnswer.model_validate(response.json())
    refusals = tuple(Refusal(r.row, r.field, r.reason, r.value, r.entity, r.line) for r in found.refusals)
    return ImportReport(found.rows, found.loaded, found.refused, refusals), found.new


def replay(decision_id: str) -> None:
    """Make a decision again from the log alone. Exit status 1 if the ranking is not identical."""

    async def work(state: ApiState) -> Replayed:
        return await replay_decision(decision_id, state.archive, state.catalogues, state.roster)

    replayed = with_state(work)
    typer.echo(
        f"decision {replayed.decision_id}: policy {replayed.policy}, epoch {replayed.epoch}, "
        f"catalogue {replayed.catalog_version}"
    )
    for logged, again in zip(replayed.logged, replayed.replayed, strict=False):
        same = "=" if logged == again else "!"
        typer.echo(
            f"  {logged.rank}. {logged.offer_id} p={logged.probability!r} score={logged.score!r}"
            f"  {same}  {again.offer_id} p={again.probability!r} score={again.score!r}"
        )
    if replayed.caveat is not None:
        typer.echo(f"note: {replayed.caveat}")
    if replayed.identical:
        typer.echo("identical")
    elif replayed.difference is None:
        typer.echo("NOT identical: other offers")
    else:
        typer.echo(
            f"NOT identical: the same offers; numbers differ by up to {replayed.difference:.1e} (relative)"
        )
    if not replayed.identical:
        raise typer.Exit(1)


def rebuild(reports: bool) -> None:
    """Put back what Redis holds from the log, the search over scripts, and with ``reports`` the roll-ups as well."""

    async def work(state: ApiState) -> tuple[Rebuilt, int]:
        # The state's own engine gives up on statements that read the whole log.
        engine = make_engine(str(state.settings.postgres_url), statement_s=PATIENT_S)
        try:
            if reports:
                # Each by itself: archivers lock the two in either order.
                for statements in (
                    (*REBUILD_ACCEPTANCE, *REBUILD_ASKED_DAYS, *REBUILD_REPORT_DAYS),
                    REBUILD_EVENT_COUNTS,
                ):
                    async with transaction(engine) as connection:
                        for statement in statements:
                            await connection.exec_driver_sql(statement)
            rebuilder = Rebuilder(
                engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
            )
            return await rebuilder.rebuild(), await state.catalogues.rebuild_search()
        finally:
            await engine.dispose()

    rebuilt, texts = with_state(work)
    for policy, count in rebuilt.observations.items():
        typer.echo(f"{policy}: {count} observations folded")
    typer.echo(f"{rebuilt.decisions} waiting decisions put back, {rebuilt.streams} streams continued")
    typer.echo(f"{texts} texts of treatments can be searched")
