"""`nextbest keys`: make API keys, take them back."""

from datetime import UTC, datetime

import typer

from app.commands.terminal import fail, on_database
from app.keys import ROLES, KeyNotFound, KeyStore

app = typer.Typer()

GRACE_S = 3600
"""Long enough to give the new key to all who use the old one."""
MAX_GRACE_S = 31_536_000


@app.command()
def create(
    role: str = typer.Option(..., help=f"one of {', '.join(ROLES)}"),
    name: str = typer.Option("", help="whose key it is; shown as the author of changes"),
) -> None:
    """Make a key and print it: alone, and only now. It is stored as a hash."""
    found = next((r for r in ROLES if r == role), None)
    if found is None:
        raise typer.BadParameter(f"{role!r} is not a role; there are {', '.join(ROLES)}", param_hint="--role")
    typer.echo(on_database(lambda engine: KeyStore(engine).create(found, name or found)))


@app.command()
def revoke(key_id: str = typer.Argument(..., help="the key's id, see 'keys list'")) -> None:
    """Make a key worthless, in every process within a second."""
    if not on_database(lambda engine: KeyStore(engine).revoke(key_id)):
        typer.secho(f"there is no key {key_id!r} in force", err=True)
        raise typer.Exit(1)


@app.command("list")
def list_keys() -> None:
    """Show the keys in force: id, role, name, when it was made and used last; of one that was rotated, its end.

    Times are UTC. A use is noted within seconds, and at most once a minute.
    """
    records = on_database(lambda engine: KeyStore(engine).records())
    width = max((len(record.key.name) for record in records), default=0)
    for record in records:
        key = record.key
        used = "never used" if record.last_used_at is None else f"used {_shown(record.last_used_at)}"
        ends = "" if key.ends_at is None else f"  ends {_shown(key.ends_at)}"
        made = f"made {_shown(record.created_at)}"
        typer.echo(f"{key.key_id}  {key.role:<9}  {key.name:<{width}}  {made}  {used}{ends}")


@app.command()
def rotate(
    name: str = typer.Argument(..., help="the name of a key in force, or its id, see 'keys list'"),
    grace: int = typer.Option(
        GRACE_S, min=0, max=MAX_GRACE_S, help="seconds for which the old key is still taken; 0: none"
    ),
) -> None:
    """Make a new key in the place of an old one, with its name and role, and print it: alone, and only now."""
    try:
        typer.echo(on_database(lambda engine: KeyStore(engine).rotate(name, grace)))
    except KeyNotFound as error:
        fail(str(error))


def _shown(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
