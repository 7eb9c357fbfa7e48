"""`nextbest catalog`: the catalogue as one YAML file, its history, and the way back."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog_check import check_entry, refusing
from app.commands.terminal import author, describe_document, fail, on_database, read_file
from decisioning.catalog.diff import Difference, differences
from decisioning.catalog.store import CatalogueStore
from decisioning.catalog.summary import Application, plan_application
from decisioning.catalog.warning import CatalogueWarning
from decisioning.catalog.warnings import catalogue_warnings
from decisioning.catalog.yaml_document import MAX_BYTES, Document, DocumentError, read_document, to_yaml
from storage import clock

app = typer.Typer()

T = TypeVar("T")
Compared = tuple[int, Application, list[CatalogueWarning]]

_FILE = typer.Argument(..., help="a YAML file, as `export` writes it; - is the standard input")
_DELETE = typer.Option(False, "--delete", help="delete what the file does not have; otherwise it stays")
_COLOURS = {"+": typer.colors.GREEN, "-": typer.colors.RED, "~": typer.colors.YELLOW}


@app.command()
def export(
    file: Path | None = typer.Argument(None, help="where to write it; otherwise it is printed"),
) -> None:
    """Write the whole catalogue as one YAML document."""

    async def work(store: CatalogueStore) -> tuple[int, str]:
        version, entries = await store.entries()
        return version, to_yaml(entries)

    version, document = _with_store(work)
    if file is None:
        typer.echo(document, nl=False)
        return
    _write_file(file, document)
    typer.echo(f"{file}: the catalogue at version {version}")


@app.command()
def diff(file: Path = _FILE, delete: bool = _DELETE) -> None:
    """Show what applying a file would change. Exit status 1 if it would change anything."""
    document = read_file(file, _parse, MAX_BYTES)
    _, planned, warnings = _with_store(lambda store: _compare(store, document, delete), file)
    _print_plan(planned)
    _print_warnings(warnings)
    if planned.changes:
        raise typer.Exit(1)


@app.command()
def apply(
    file: Path = _FILE,
    yes: bool = typer.Option(False, "--yes", help="do not ask"),
    delete: bool = _DELETE,
    dry_run: bool = typer.Option(
        False, "--dry-run", help="check the file and show the changes, nothing else"
    ),
    reason: str = typer.Option("", help="why; kept in the audit trail"),
) -> None:
    """Add and change what a file has, in one step; with --delete, delete all else. Shows the changes first."""
    document = read_file(file, _parse, MAX_BYTES)
    version, planned, warnings = _with_store(lambda store: _compare(store, document, delete), file)
    _print_plan(planned)
    _print_warnings(warnings)
    if dry_run or not planned.changes:
        return
    if not yes:
        if not _can_ask():
            fail("nothing was changed: there is nobody to ask, so say --yes")
        count = len(planned.differences)
        typer.confirm(f"Apply these {count} changes to version {version}?", abort=True)
    # On top of the version that was compared: a change that came meanwhile is not overwritten.
    catalogue = _with_store(lambda store: store.apply(planned.changes, author(), reason, version), file)
    typer.echo(f"the catalogue is at version {catalogue.version}")


@app.command()
def history(limit: int = typer.Option(20, min=1, max=10_000, help="how many entries")) -> None:
    """Show who changed what, when and why, the newest first."""
    for entry in _with_store(lambda store: store.trail(limit=limit)):
        why = f": {entry.reason}" if entry.reason else ""
        typer.echo(f"{entry.version}  {entry.changed_at:%Y-%m-%d %H:%M:%S%z}  {entry.author}{why}")
        before, after = (entry.kind, entry.name, entry.before), (entry.kind, entry.name, entry.after)
        for difference in differences([before], [after]):
            typer.echo(f"    {difference}")


@app.command()
def rollback(
    version: int = typer.Argument(..., min=0, help="the version to go back to, see `history`"),
    reason: str = typer.Option(..., help="why; kept in the audit trail"),
) -> None:
    """Make what was in force at a version the newest version. The history stays as it is."""

    async def work(store: CatalogueStore) -> tuple[int, list[Difference]]:
        _, before = await store.entries()
        catalogue = await store.rollback(version, author(), reason)
        _, after = await store.entries(catalogue.version)
        return catalogue.version, differences(before, after)

    newest, found = _with_store(work)
    _print_differences(found)
    typer.echo(f"the catalogue is at version {newest}, as it was at version {version}")


def _with_store(work: Callable[[CatalogueStore], Awaitable[T]], file: Path | None = None) -> T:
    """Run with the catalogue's store. ``file``: what a document's mistakes are said of."""

    async def run(engine: AsyncEngine) -> T:
        try:
            return await work(CatalogueStore(engine))
        except DocumentError as error:
            fail(describe_document(str(file), error))

    return on_database(run)


async def _compare(store: CatalogueStore, document: Document, delete: bool) -> Compared:
    """Return the version, what a file makes of the catalogue, and warnings about the result.

    The result is checked as a whole.
    """
    version, current = await store.entries()
    planned = plan_application(current, document.entries, delete=delete)
    async with refusing(document, store, version, planned):
        catalogue = await store.tried(version, planned.changes)
    return version, planned, catalogue_warnings(catalogue, clock.now_ms())


def _parse(document: str) -> Document:
    return read_document(document, check_entry)


def _write_file(file: Path, document: str) -> None:
    try:
        file.write_text(document, encoding="utf-8")
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _print_plan(planned: Application) -> None:
    for difference in planned.differences:
        line = str(difference)
        typer.secho(line, fg=_COLOURS[line[0]])
    if not planned.changes:
        typer.echo("no changes")
    for line in planned.summary.lines():
        typer.secho(line, fg=typer.colors.RED if line.lstrip().startswith("!") else None)


def _print_differences(found: list[Difference]) -> None:
    for difference in found:
        line = str(difference)
        typer.secho(line, fg=_COLOURS[line[0]])
    typer.echo(f"{len(found)} changes" if found else "no changes")


def _print_warnings(warnings: list[CatalogueWarning]) -> None:
    # To the standard error: what reads the differences is not disturbed.
    for warning in warnings:
        typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW, err=True)


def _can_ask() -> bool:
    return sys.stdin.isatty()
