"""`nextbest keys`: make API keys, take them back."""

from datetime import UTC, datetime
from pathlib import Path

import typer
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.commands.terminal import author, fail, on_database
from app.console.sessions import SessionStore
from app.errors import reason_of
from app.keys import ROLES, KeyNotFound, KeyStore
from app.publishable.settings import (
    DEFAULT_AUDIENCE,
    KEY_PER_MINUTE,
    VISITOR_PER_MINUTE,
    CustomerTokens,
    PublishableSettings,
    token_checks,
)
from app.publishable.store import PublishableStore

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
def publish(
    placement: list[str] = typer.Option(..., help="a placement that it is for; may be there again"),
    origin: list[str] = typer.Option([], help="an origin of pages, as https://shop.example; again"),
    apps: bool = typer.Option(False, "--apps", help="take requests without an origin: of apps"),
    tokens: bool = typer.Option(
        False, "--tokens", help="make a secret that customers' tokens are signed with"
    ),
    public_key: Path | None = typer.Option(None, help="a file (PEM) that customers' tokens are checked with"),
    audience: str = typer.Option(DEFAULT_AUDIENCE, help="the audience ('aud') of customers' tokens"),
    key_per_minute: int = typer.Option(KEY_PER_MINUTE, help="requests a minute, of each API process"),
    visitor_per_minute: int = typer.Option(VISITOR_PER_MINUTE, help="the same of one visitor or customer"),
    name: str = typer.Option("publishable", help="where it is used"),
) -> None:
    """Make a publishable key, for pages and apps, and print it; with --tokens the secret below it, only now."""
    if not origin and not apps:
        raise typer.BadParameter("name the origins of your pages, or say --apps", param_hint="--origin")
    checks, secret = _token_checks(tokens, public_key, audience)
    try:
        settings = PublishableSettings.model_validate(
            {
                "placements": placement,
                "origins": origin,
                "apps": apps,
                "tokens": checks,
                "key_per_minute": key_per_minute,
                "visitor_per_minute": visitor_per_minute,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).removesuffix("s").replace("_", "-")
        raise typer.BadParameter(reason_of(first), param_hint=f"--{option}") from None
    typer.echo(on_database(lambda engine: PublishableStore(engine).create(name, settings)))
    if secret is not None:
        typer.echo(secret)


def _token_checks(
    make: bool, public_key: Path | None, audience: str
) -> tuple[CustomerTokens | None, str | None]:
    """Say how tokens are checked, and the secret if one was made."""
    pem = _pem(public_key, make)
    if pem is None and not make:
        return None, None
    try:
        return token_checks(audience, pem)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--public-key") from None


def _pem(public_key: Path | None, make: bool) -> str | None:
    if public_key is None:
        return None
    if make:
        raise typer.BadParameter(
            "tokens are signed with a secret or with the other half of --public-key", param_hint="--tokens"
        )
    try:
        return public_key.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--public-key") from None


@app.command()
def revoke(key_id: str = typer.Argument(..., help="the key's id, see 'keys list'")) -> None:
    """Make a key worthless, in every process within a second."""

    async def revoked(engine: AsyncEngine) -> bool:
        return await KeyStore(engine).revoke(key_id) or await PublishableStore(engine).revoke(key_id)

    if not on_database(revoked):
        typer.secho(f"there is no key {key_id!r} in force", err=True)
        raise typer.Exit(1)


@app.command("end-sessions")
def end_sessions(
    subject: str = typer.Argument(..., help="the person's id at the provider ('sub'), as in the audit trail"),
) -> None:
    """End the sessions of a person who signed in with a provider, in every process within a second."""
    ended = on_database(lambda engine: SessionStore(engine).end_of(subject))
    typer.echo(f"{ended} sessions ended")


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
    for published in on_database(lambda engine: PublishableStore(engine).records()):
        used = "never used" if published.last_used_at is None else f"used {_shown(published.last_used_at)}"
        where = ", ".join([*published.settings.placements, *published.settings.origins])
        made = f"made {_shown(published.created_at)}"
        ends = "" if published.ends_at is None else f"  ends {_shown(published.ends_at)}"
        ends += "".join(f"  earlier secret ends {_shown(one.ends_at)}" for one in published.earlier)
        typer.echo(
            f"{published.key_id}  published  {published.name:<{width}}  {made}  {used}  for {where}{ends}"
        )


@app.command()
def rotate(
    name: str = typer.Argument(..., help="the name of a key in force, or its id, see 'keys list'"),
    grace: int = typer.Option(
        GRACE_S, min=0, max=MAX_GRACE_S, help="seconds for which the old one is still taken; 0: none"
    ),
    until: datetime | None = typer.Option(
        None, help="when the old one ends, in UTC, as 2026-05-31 or 2026-05-31T18:00:00; in place of --grace"
    ),
    tokens: bool = typer.Option(
        False, "--tokens", help="not the publishable key, but the secret of its customers' tokens"
    ),
    public_key: Path | None = typer.Option(
        None, help="the same, by a file (PEM) that tokens are checked with from now on"
    ),
) -> None:
    """Make a new key in the place of an old one, which opens the same, and print it: alone, and only now.

    Of a publishable key also the secret that customers' tokens are signed with. Both are taken until the old one ends.
    """
    grace_s = (
        float(grace) if until is None else (until.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    )
    if not 0 <= grace_s <= MAX_GRACE_S:
        raise typer.BadParameter("must lie in the year that comes", param_hint="--until")
    pem = _pem(public_key, tokens)

    async def rotated(engine: AsyncEngine) -> str | None:
        published = PublishableStore(engine)
        if tokens or pem is not None:
            return await published.rotate_tokens(name, grace_s, author(), pem)
        own = [r for r in await KeyStore(engine).records() if r.key.ends_at is None]
        if any(name in (r.key.key_id, r.key.name) for r in own):
            public = [r.key_id for r in await published.records() if name == r.name and r.ends_at is None]
            if public:
                raise KeyNotFound(f"publishable keys have the name {name!r}, too: name one by its id")
            return await KeyStore(engine).rotate(name, grace_s)
        return (await published.rotate(name, grace_s, author()))[0]

    try:
        made = on_database(rotated)
    except KeyNotFound as error:
        fail(str(error))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--public-key") from None
    if made is not None:
        typer.echo(made)


def _shown(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
