"""`nextbest migrate`: the database schema."""

import typer

import migrations
from app.config import ConfigError, get_settings
from app.servers import server_urls
from storage.postgres import POSTGRES_ERRORS


def migrate() -> None:
    """Bring the database to the present schema."""
    with server_urls(get_settings()) as urls:
        upgrade(urls.postgres_url)
    typer.echo("The database has the present schema.")


def upgrade(url: str) -> None:
    """Bring the database at ``url`` to the present schema.

    Raises:
        ConfigError: it cannot be reached, or does not let us.
    """
    try:
        migrations.upgrade(url)
    except POSTGRES_ERRORS as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the database cannot be brought to the present schema: {reason}") from error
