"""`nextbest keys`: make API keys, take them back."""

import typer

from app.commands.terminal import on_database
from app.keys import ROLES, KeyStore

app = typer.Typer()


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
    """Show the keys in force: id, role, name."""
    keys = on_database(lambda engine: KeyStore(engine).load()).values()
    for key in sorted(keys, key=lambda one: one.key_id):
        typer.echo(f"{key.key_id}  {key.role:<9}  {key.name}")
