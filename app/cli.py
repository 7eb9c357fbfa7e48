"""The command `nextbest`. Each command is a module of `app.commands`, imported when it is run."""

import sys

import typer

from app.commands import keys
from app.config import ConfigError

app = typer.Typer(
    name="nextbest",
    help="Real-time next best action: decides, explains, and learns from every answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def up() -> None:
    """Run everything: servers (unless configured), migrations, API and worker."""
    from app.commands.up import up as run

    run()


@app.command()
def serve() -> None:
    """Serve the HTTP API."""
    from app.commands.serve import serve as run

    run()


@app.command()
def work() -> None:
    """Run the background jobs: learner, archiver, expirer."""
    from app.commands.work import work as run

    run()


@app.command()
def migrate() -> None:
    """Bring the database to the present schema."""
    from app.commands.migrate import migrate as run

    run()


app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command line; a wrong configuration is reported in words, with exit status 2."""
    try:
        app()
    except ConfigError as error:
        typer.secho(f"nextbest: {error}", err=True, fg=typer.colors.RED)
        sys.exit(2)


if __name__ == "__main__":
    main()
