"""`nextbest keys`: make API keys, take them back."""

import asyncio

import typer

from app.config import get_settings
from app.keys import ROLES, KeyStore, Role
from app.servers import server_urls
from decisioning.stores.postgres import make_engine

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.command()
def create(
    role: str = typer.Option(..., help=f"one of {', '.join(ROLES)}"),
    name: str = typer.Option("", help="whose key it is; shown as the author of changes"),
) -> None:
    """Make a key and print it: alone, and only now. It is stored as a hash."""
    found = next((r for r in ROLES if r == role), None)
    if found is None:
        raise typer.BadParameter(f"{role!r} is not a role; there are {', '.join(ROLES)}", param_hint="--role")
    with server_urls(get_settings()) as urls:
        typer.echo(asyncio.run(_create(urls.postgres_url, found, name or found)))


@app.command()
def revoke(key_id: str = typer.Argument(..., help="the key's id, see 'keys list'")) -> None:
    """Make a key worthless, in every process within a second."""
    with server_urls(get_settings()) as urls:
        done = asyncio.run(_revoke(urls.postgres_url, key_id))
    if not done:
        typer.secho(f"there is no key {key_id!r} in force", err=True)
        raise typer.Exit(1)


@app.command("list")
def list_keys() -> None:
    """Show the keys in force: id, role, name."""
    with server_urls(get_settings()) as urls:
        for line in asyncio.run(_list(urls.postgres_url)):
            typer.echo(line)


async def _create(url: str, role: Role, name: str) -> str:
    engine = make_engine(url, pool_size=1)
    try:
        return await KeyStore(engine).create(role, name)
    finally:
        await engine.dispose()


async def _revoke(url: str, key_id: str) -> bool:
    engine = make_engine(url, pool_size=1)
    try:
        return await KeyStore(engine).revoke(key_id)
    finally:
        await engine.dispose()


async def _list(url: str) -> list[str]:
    engine = make_engine(url, pool_size=1)
    try:
        keys = (await KeyStore(engine).load()).values()
        return [f"{key.key_id}  {key.role:<9}  {key.name}" for key in sorted(keys, key=lambda k: k.key_id)]
    finally:
        await engine.dispose()
