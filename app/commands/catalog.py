"""`nextbest catalog`: the catalogue as one YAML file, its history, and the way back; here, or over HTTP with --url."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from app.catalog_schema import document_schema
from app.commands.catalogues import Catalogues, Comparison, DatabaseCatalogues, ServedCatalogues
from app.commands.remote import KEY_FILE_OPTION, KEY_OPTION, URL_OPTION, remote
from app.commands.terminal import fail
from decisioning.catalog.checking.warning import CatalogueWarning
from decisioning.catalog.diff import Difference

app = typer.Typer()

_FILE = typer.Argument(..., help="a YAML file, as `export` writes it; - is the standard input")
_DELETE = typer.Option(False, "--delete", help="delete what the file does not have; otherwise it stays")
ALONE_OPTION = typer.Option(
    False,
    "--without-approval",
    help="on a database where approvals are required: change it all the same; the audit trail says so",
)
_COLOURS = {"+": typer.colors.GREEN, "-": typer.colors.RED, "~": typer.colors.YELLOW}


@app.command()
def export(
    file: Path | None = typer.Argument(None, help="where to write it; otherwise it is printed"),
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Write the whole catalogue as one YAML document."""
    version, document = _catalogues(url, key, key_file).export()
    if file is None:
        typer.echo(document, nl=False)
        return
    _write_file(file, document)
    typer.echo(f"{file}: the catalogue at version {version}")


@app.command()
def diff(
    file: Path = _FILE,
    delete: bool = _DELETE,
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Show what applying a file would change. Exit status 1 if it would change anything."""
    compared = _catalogues(url, key, key_file).compare(file, delete)
    _print_comparison(compared)
    if not compared.is_empty:
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
    without_approval: bool = ALONE_OPTION,
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Add and change what a file has, in one step; with --delete, delete all else. Shows the changes first."""
    catalogues = _catalogues(url, key, key_file, without_approval)
    compared = catalogues.compare(file, delete)
    _print_comparison(compared)
    if dry_run or compared.is_empty:
        return
    if not yes:
        if not can_ask():
            fail("nothing was changed: there is nobody to ask, so say --yes")
        count = len(compared.differences)
        typer.confirm(f"Apply these {count} changes to version {compared.version}?", abort=True)
    # On top of the version that was compared: a change that came meanwhile is not overwritten.
    version = catalogues.apply(file, delete, reason, compared)
    typer.echo(f"the catalogue is at version {version}")


@app.command()
def simulate(
    file: Path = _FILE,
    placement: str | None = typer.Option(
        None, help="the placement that customers are run through; needed where there are several"
    ),
    delete: bool = _DELETE,
    sample: int = typer.Option(1000, min=1, max=10_000, help="customers"),
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Show what applying a file would do to a sample of customers. Nothing is changed, reserved, logged or learned."""
    found = _catalogues(url, key, key_file).simulate(file, delete, placement, sample)
    for line in _simulation_lines(found):
        typer.echo(line)


@app.command()
def schema() -> None:
    """Print the JSON Schema of files, by which editors complete and check them."""
    typer.echo(json.dumps(document_schema(), indent=2))


@app.command()
def history(
    limit: int = typer.Option(20, min=1, max=10_000, help="how many entries"),
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Show who changed what, when and why, the newest first."""
    for entry in _catalogues(url, key, key_file).history(limit):
        why = f": {entry.reason}" if entry.reason else ""
        typer.echo(f"{entry.version}  {entry.changed_at:%Y-%m-%d %H:%M:%S%z}  {entry.author}{why}")
        for difference in entry.differences:
            typer.echo(f"    {difference}")


@app.command()
def rollback(
    version: int = typer.Argument(..., min=0, help="the version to go back to, see `history`"),
    reason: str = typer.Option(..., help="why; kept in the audit trail"),
    without_approval: bool = ALONE_OPTION,
    url: str | None = URL_OPTION,
    key: str | None = KEY_OPTION,
    key_file: Path | None = KEY_FILE_OPTION,
) -> None:
    """Make what was in force at a version the newest version. The history stays as it is."""
    newest, found = _catalogues(url, key, key_file, without_approval).rollback(version, reason)
    print_differences(found)
    typer.echo(f"{len(found)} changes" if found else "no changes")
    typer.echo(f"the catalogue is at version {newest}, as it was at version {version}")


def _catalogues(
    url: str | None, key: str | None, key_file: Path | None, without_approval: bool = False
) -> Catalogues:
    service = remote(url, key, key_file)
    return DatabaseCatalogues(without_approval) if service is None else ServedCatalogues(service)


def _write_file(file: Path, document: str) -> None:
    try:
        file.write_text(document, encoding="utf-8")
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _print_comparison(compared: Comparison) -> None:
    print_differences(compared.differences)
    if compared.is_empty:
        typer.echo("no changes")
    for line in compared.summary.lines():
        typer.secho(line, fg=typer.colors.RED if line.lstrip().startswith("!") else None)
    _print_warnings(compared.warnings)


def print_differences(found: Iterable[Difference]) -> None:
    """Print what differs, value by value, in colours."""
    for difference in found:
        line = str(difference)
        typer.secho(line, fg=_COLOURS[line[0]])


def _print_warnings(warnings: Iterable[CatalogueWarning]) -> None:
    # To the standard error: what reads the differences is not disturbed.
    for warning in warnings:
        typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW, err=True)


def _simulation_lines(found: Mapping[str, Any]) -> Iterable[str]:
    """Yield a simulation as text: each figure as it is, and as the file makes it."""
    live, changed = found["live"], found["changed"]
    yield f"{found['placement']}: {found['customers']} customers, the live catalogue -> the file"
    for stage, count in live["funnel"].items():
        yield f"    {stage}: {count} -> {changed['funnel'][stage]}"
    yield f"expected value: {live['expected_value']:.2f} -> {changed['expected_value']:.2f}"
    yield f"without any offer: {live['without_offer']} -> {changed['without_offer']}"
    yield f"with another answer: {found['customers_with_another_answer']}"
    for offer in found["offers"]:
        if offer["difference"]:
            yield f"    {offer['offer_id']}: {offer['live']} -> {offer['changed']} ({offer['difference']:+d})"


def can_ask() -> bool:
    """Return whether there is somebody to ask."""
    return sys.stdin.isatty()
