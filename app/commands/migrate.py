"""`nextbest migrate`: the database schema."""

import typer

import migrations
from app.config import get_settings
from app.servers import server_urls


def migrate() -> None:
    """Bring the database to the present schema."""
    with server_urls(get_settings()) as urls:
        migrations.upgrade(urls.postgres_url)
    typer.echo("The database has the present schema.")
