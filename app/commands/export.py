"""`nextbest export`: the log, customers and arms as files."""

import socket
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, get_args

import typer

from app.commands.log import with_state
from app.commands.terminal import author, fail, progress_bar
from app.state import ApiState
from app.worker.export_runs import export_to
from decisioning.exporting.export_service import Exported, ExportRequest
from decisioning.exporting.schema import ExportFormat, ExportKind
from decisioning.exporting.store_folders import FolderStore
from decisioning.privacy.export_files import PERSONAL


def parse_day(said: str | None, option: str) -> date | None:
    """Parse a day as it is written on the command line."""
    if said is None:
        return None
    try:
        return date.fromisoformat(said)
    except ValueError:
        raise typer.BadParameter(
            f"{said!r} is not a day such as 2026-01-31; exports are of whole days, in UTC", param_hint=option
        ) from None


def _one_of(said: str, known: Sequence[str], option: str) -> Any:
    """Return what was said if it is known. Raises ``BadParameter``."""
    if said not in known:
        raise typer.BadParameter(f"{said!r} is none of {', '.join(known)}", param_hint=option)
    return said


def export(
    kind: str,
    out: Path,
    since: str | None,
    until: str | None,
    file_format: str,
    again: bool,
    include: Sequence[str] = (),
) -> None:
    """Export a kind to a folder, with a progress bar; prints what was written. Exit status 1 if it cannot be."""
    request = ExportRequest(
        _one_of(kind, get_args(ExportKind), "KIND"),
        parse_day(since, "--since"),
        parse_day(until, "--until"),
        _one_of(file_format, get_args(ExportFormat), "--format"),
        again,
        tuple(_one_of(one, ("sensitive",), "--include") for one in include),
    )
    request.check()
    where = socket.gethostname(), str(out.resolve())

    async def work(state: ApiState) -> Exported:
        if request.kind in PERSONAL:  # noted first: what is cut off may have written persons as well
            await FolderStore(state.engine).note(*where, request.kind, author())
        with progress_bar(f"days of {kind}") as progress:
            return await _export(state, request, out, progress)

    done = with_state(work)
    still = "" if not done.open else f"; {done.open} decisions are still open"
    typer.echo(
        f"{kind}: {done.rows} rows of {done.days} days in {out / kind}, {done.kept} of them as they were{still}"
    )


async def _export(
    state: ApiState, request: ExportRequest, out: Path, progress: Callable[[int, int], None]
) -> Exported:
    try:
        return await export_to(state.settings, request, out, progress)
    except OSError as error:
        fail(f"{error.filename or out}: {error.strerror}")
