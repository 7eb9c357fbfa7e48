"""`nextbest policies`: what there is to say about policies on the command line."""

from pathlib import Path

import typer

app = typer.Typer(help="Policies: checking one's own.", no_args_is_help=True)


@app.callback()
def policies() -> None:
    """Policies: checking one's own."""


@app.command()
def check(
    target: str = typer.Argument(..., help="a class as mypackage:MyPolicy, or the name of an algorithm"),
    spec: Path | None = typer.Option(None, help="a specification (YAML or JSON) to try it with"),
) -> None:
    """Run the conformance laws on a policy, then measure how fast it is. Exit status 1 if a law is broken."""
    from app.commands.policy_check import check as run

    run(target, spec)
