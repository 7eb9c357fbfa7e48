"""The command `nextbest`. Each command is a module of `app.commands`, imported when it is run."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import typer
from typer.core import TyperGroup

from app.config import ConfigError
from decisioning.errors import DecisioningError
from profiles.errors import ProfilesError
from storage.errors import StorageError

app = typer.Typer(
    name="nextbest",
    help="Real-time next best action: decides, explains, and learns from every answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"nextbest {version('nextbest')}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="print the version, and end"
    ),
) -> None:
    """Real-time next best action: decides, explains, and learns from every answer."""


@app.command()
def up() -> None:
    """Run everything: servers (unless configured), migrations, API and worker."""
    from app.commands.service import up as run

    run()


@app.command()
def serve() -> None:
    """Serve the HTTP API."""
    from app.commands.service import serve as run

    run()


@app.command()
def work() -> None:
    """Run the background jobs: learner, archiver, expirer."""
    from app.commands.service import work as run

    run()


@app.command()
def migrate() -> None:
    """Bring the database to the present schema."""
    from app.commands.service import migrate as run

    run()


@app.command("import")
def import_(
    kind: str = typer.Argument(
        ..., help="customers, consents, propensities, suppressions, registers or history"
    ),
    file: Path = typer.Argument(..., help="a .csv or .parquet file"),
    url: str | None = typer.Option(None, "--url", help="the address of a service, in place of a database"),
    key: str | None = typer.Option(
        None, "--key", help="its API key; others on this machine can see it: better --key-file"
    ),
    key_file: Path | None = typer.Option(None, "--key-file", help="a file that holds the API key"),
) -> None:
    """Load a file; rows that cannot be loaded are reported one by one, all others are loaded."""
    from app.commands.log import load_file
    from app.imports import Kind

    found = next((k for k in get_args(Kind) if k == kind), None)
    if found is None:
        raise typer.BadParameter(f"{kind!r} cannot be imported; there are {', '.join(get_args(Kind))}")
    load_file(found, file, url, key, key_file)


@app.command()
def export(
    kind: str = typer.Argument(..., help="decisions, outcomes, features, customers or arms"),
    out: Path = typer.Option(..., help="the folder; a second run goes on where the first was cut off"),
    since: str | None = typer.Option(None, help="days (UTC) from then on, such as 2026-01-31"),
    until: str | None = typer.Option(None, help="days before then"),
    format_: str = typer.Option("parquet", "--format", help="parquet; for decisions also dsjson"),
    again: bool = typer.Option(False, help="write days anew that are complete as well"),
    include: list[str] = typer.Option([], help="sensitive: values of attributes that are classified so"),
) -> None:
    """Write the log, customers or arms as files, a folder for each day."""
    from app.commands.export import export as run

    run(kind, out, since, until, format_, again, include)


@app.command()
def replay(decision_id: str = typer.Argument(..., help="the id of an archived decision")) -> None:
    """Make a decision again from the log alone, and compare it bit for bit."""
    from app.commands.log import replay as run

    run(decision_id)


@app.command()
def rebuild(reports: bool = typer.Option(False, help="rebuild the report roll-ups as well")) -> None:
    """Put back what Redis holds (arms, contact history, waiting decisions) from the log in Postgres."""
    from app.commands.log import rebuild as run

    run(reports)


@app.command()
def ids(
    mend: bool = typer.Option(False, help="move what is stored under them to the ids that are looked up"),
) -> None:
    """List customers who are stored under ids that no request can name, such as those with a line feed."""
    from app.commands.ids import list_or_mend

    list_or_mend(mend)


@app.command()
def size(
    decisions_per_second: float | None = typer.Option(
        None, min=0, help="plan for so many; without it, those of the last day"
    ),
    customers: int | None = typer.Option(
        None, min=0, help="plan for so many with a cached profile and contacts; without it, those in Redis"
    ),
) -> None:
    """Compute the memory that Redis needs, from this installation's own figures or planned ones."""
    from app.commands.size import size as run

    run(decisions_per_second, customers)


@app.command()
def demo(
    seconds: float | None = typer.Option(None, min=1, help="stop after so many seconds of live visitors"),
) -> None:
    """Run everything on real data, in a folder of its own, with simulated visitors; until Ctrl-C or --seconds."""
    from demo.run import demo as run

    run(seconds)


@app.command()
def top(
    url: str | None = typer.Option(None, "--url", help="the address of a service; by default this machine's"),
    key: str | None = typer.Option(None, "--key", help="its API key; better --key-file or NEXTBEST_API_KEY"),
    key_file: Path | None = typer.Option(None, "--key-file", help="a file that holds the API key"),
    rounds: int | None = typer.Option(None, min=1, help="seconds after which it ends; by default Ctrl-C"),
) -> None:
    """Show what goes on now, once a second: decisions, outcomes, latency, degraded answers, backlog, alerts."""
    from app.commands.top import top as run

    run(url, key, key_file, rounds)


class _LazyGroup(TyperGroup):
    """The commands of a module of `app.commands` of this name."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the commands, for --help."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find the command that is asked for."""
        self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        # Not before one is asked for: `nextbest serve` and `nextbest --help` need not load all that groups work with.
        if not self.commands:
            self.commands.update(
                typer.main.get_group(import_module(f"app.commands.{self.name}").app).commands
            )


for _group, _help in (
    ("keys", "API keys."),
    (
        "customers",
        "What is held on a person: taken out as a file, put right or erased; consents, suppression lists.",
    ),
    ("privacy", "The trail of what was done with the data of persons; retention at once."),
    ("registers", "Registers of those who must not be contacted, known by hashes."),
    ("deadletters", "Records of the log that could not be archived."),
    ("changesets", "Change sets of a service: made of files, looked at, approved and applied."),
    ("triggers", "What triggers called for: shown, and sent again."),
    ("catalog", "The catalogue as a file: in git, in reviews, and back."),
    ("policies", "Policies: their life, from a file to champion."),
):
    app.add_typer(typer.Typer(cls=_LazyGroup, help=_help, no_args_is_help=True), name=_group)


def main() -> None:
    """Run the command line; what is wrong is said in words: exit status 2 for the configuration, 1 for the rest."""
    try:
        app()
    except (ConfigError, DecisioningError, ProfilesError, StorageError) as error:
        typer.secho(f"nextbest: {error}", err=True, fg=typer.colors.RED)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


if __name__ == "__main__":
    main()
