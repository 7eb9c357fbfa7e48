"""`nextbest policies`: registered, staged, watched, rolled back and checked from the command line."""

from pathlib import Path
from typing import Literal

import typer

app = typer.Typer(help="Policies: their life, from a file to champion.", no_args_is_help=True)

Slots = Literal["first", "all"]
Reward = Literal["acceptance", "value"]
Start = Literal["cold", "warm"]

_KEY = typer.Argument(..., metavar="NAME@VERSION", help="the policy")
_PLACEMENT = typer.Option(..., "--placement", help="the placement")
_REASON = typer.Option("", help="why; kept in the audit trail")
_POLICY_REASON = typer.Option("", help="why; kept with the policy")


@app.command()
def register(
    file: Path = typer.Argument(..., help="a specification (YAML or JSON); - is the standard input"),
    reason: str = _POLICY_REASON,
) -> None:
    """Register a policy. Without a version in the file it gets the next one; workers warm it up at once."""
    from app.commands.policy_life import register as run

    run(file, reason)


@app.command("list")
def list_policies() -> None:
    """Show all policies: state, progress, where they have a part."""
    from app.commands.policy_life import list_policies as run

    run()


@app.command()
def show(policy: str = typer.Argument(..., metavar="NAME[@VERSION]", help="the policy")) -> None:
    """Show a policy, or all its versions, with the specification as YAML."""
    from app.commands.policy_life import show as run

    run(policy)


@app.command()
def stage(
    policy: str = _KEY,
    stage: str = typer.Argument(..., help="shadow, canary, champion or retired"),
    placement: str = _PLACEMENT,
    share: float | None = typer.Option(None, help="of a canary: its part of the customers; 0.1 if left out"),
    force: bool = typer.Option(False, "--force", help="skip the stages before"),
    reason: str = _REASON,
) -> None:
    """Give a policy a stage in a placement; in force everywhere within a second."""
    from app.commands.policy_life import stage as run

    run(policy, stage, placement, share, force, reason)


@app.command()
def rollback(placement: str = _PLACEMENT, reason: str = _REASON) -> None:
    """End the canary of a placement, or, without one, put the champion before this one back."""
    from app.commands.policy_life import rollback as run

    run(placement, reason)


@app.command()
def retire(policy: str = _KEY, reason: str = _POLICY_REASON) -> None:
    """Let a policy that no placement uses learn no more. Decisions that it made can still be replayed."""
    from app.commands.policy_life import retire as run

    run(policy, reason)


@app.command()
def revive(policy: str = _KEY, reason: str = _POLICY_REASON) -> None:
    """Take a retired policy back; it starts warm again."""
    from app.commands.policy_life import revive as run

    run(policy, reason)


@app.command()
def progress(
    follow: bool = typer.Option(False, "--follow", help="until all warm starts are done"),
) -> None:
    """Show the warm starts that are not done yet."""
    from app.commands.policy_life import progress as run

    run(follow)


@app.command()
def check(
    target: str = typer.Argument(..., help="a class as mypackage:MyPolicy, or the name of an algorithm"),
    spec: Path | None = typer.Option(None, help="a specification (YAML or JSON) to try it with"),
) -> None:
    """Run the conformance laws on a policy, then measure how fast it is. Exit status 1 if a law is broken."""
    from app.commands.policy_check import check as run

    run(target, spec)


@app.command()
def evaluate(
    policy: str | None = typer.Argument(None, metavar="[NAME@VERSION]", help="a policy that is known here"),
    spec: Path | None = typer.Option(None, help="a specification (YAML or JSON); it need not be registered"),
    placement: str = _PLACEMENT,
    since: str | None = typer.Option(None, "--from", help="decisions from then on"),
    until: str | None = typer.Option(None, "--to", help="decisions before then"),
    limit: int = typer.Option(20_000, min=1, help="the newest so many decisions"),
    slots: Slots = typer.Option("first", help="first slots only, or all of them"),
    reward: Reward = typer.Option("acceptance", help="what counts: acceptance, or value"),
    start: Start = typer.Option(
        "cold", help="what it knows at first: nothing, or all that was logged before"
    ),
    as_json: bool = typer.Option(False, "--json", help="print JSON"),
) -> None:
    """Show what a policy would have earned in the archived decisions of a placement, learning on its way."""
    from app.commands.policy_evaluate import parse_time, run
    from decisioning.evaluation.service import EvaluationScope

    times = parse_time(since, "--from"), parse_time(until, "--to")
    run(policy, spec, EvaluationScope(placement, *times, limit, slots, reward, start), as_json)
