"""`nextbest catalog`: the catalogue as one YAML file, its history, and the way back."""

from pathlib import Path

import typer

app = typer.Typer(help="The catalogue as a file: in git, in reviews, and back.", no_args_is_help=True)

# Each command imports its work when it runs, so that --help does not load the whole service.
_FILE = typer.Argument(..., help="a YAML file, as `export` writes it; - is the standard input")


@app.command()
def export(
    file: Path | None = typer.Argument(None, help="where to write it; otherwise it is printed"),
) -> None:
    """Write the whole catalogue as one YAML document."""
    from app.commands.catalog_file import export as run

    run(file)


@app.command()
def diff(file: Path = _FILE) -> None:
    """Show what applying a file would change. Exit status 1 if it would change anything."""
    from app.commands.catalog_file import diff as run

    run(file)


@app.command()
def apply(
    file: Path = _FILE,
    yes: bool = typer.Option(False, "--yes", help="do not ask"),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="check the file and show the changes, nothing else"
    ),
    reason: str = typer.Option("", help="why; kept in the audit trail"),
) -> None:
    """Make the catalogue what a file says, in one step: what is not in it is deleted. Shows the changes first."""
    from app.commands.catalog_file import apply as run

    run(file, yes, dry_run, reason)


@app.command()
def history(limit: int = typer.Option(20, min=1, max=10_000, help="how many entries")) -> None:
    """Show who changed what, when and why, the newest first."""
    from app.commands.catalog_file import history as run

    run(limit)


@app.command()
def rollback(
    version: int = typer.Argument(..., min=0, help="the version to go back to, see `history`"),
    reason: str = typer.Option(..., help="why; kept in the audit trail"),
) -> None:
    """Make what was in force at a version the newest version. The history stays as it is."""
    from app.commands.catalog_file import rollback as run

    run(version, reason)
