"""`nextbest up`: the API and its worker, supervised, with embedded servers if no others are configured."""

import os
import sys

import typer

from app.config import Settings, get_settings
from app.servers import ServerUrls, server_urls
from app.supervise import Command, Supervisor


def up() -> None:
    """Run everything: servers (unless configured), migrations, API and worker, until Ctrl-C."""
    import migrations

    settings = get_settings()
    with server_urls(settings) as urls:
        migrations.upgrade(urls.postgres_url)
        typer.echo(
            f"nextbest: http://{settings.host}:{settings.port} (API documentation: /docs). Ctrl-C stops it."
        )
        status = Supervisor(commands(settings, urls)).run()
    raise typer.Exit(status)


def commands(settings: Settings, urls: ServerUrls) -> list[Command]:
    """The processes of one installation, told by their environment which servers to use."""
    env = {
        **os.environ,
        "NEXTBEST_POSTGRES_URL": urls.postgres_url,
        "NEXTBEST_REDIS_URL": urls.redis_url,
        "NEXTBEST_DATA_DIR": str(settings.data_dir.resolve()),
    }
    return [Command(name, (sys.executable, "-m", "app.cli", name), env) for name in ("serve", "work")]
