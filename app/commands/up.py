"""`nextbest up`: the API and its worker, supervised, with embedded servers if no others are configured."""

import os
import socket
import sys

import typer

from app.commands.interrupts import between_steps
from app.commands.migrate import upgrade
from app.config import ConfigError, Settings, get_settings
from app.server_urls import ServerUrls
from app.servers import watched_servers
from app.supervise import Command, Supervisor
from app.telemetry import prepare_metrics


def up() -> None:
    """Run everything: servers (unless configured), migrations, API and worker, until Ctrl-C."""
    settings = get_settings()
    require_free_port(settings.host, settings.port)
    prepare_metrics(settings.data_dir.resolve())  # one folder, so that /metrics tells of the worker as well
    with between_steps() as check, watched_servers(settings) as (urls, revive):
        check()
        upgrade(urls.postgres_url)
        check()
        typer.echo(
            f"nextbest: http://{settings.host}:{settings.port} (API documentation: /docs). Ctrl-C stops it."
        )
        status = Supervisor(service_commands(settings, urls), watch=revive).run()
    raise typer.Exit(status)


def service_commands(settings: Settings, urls: ServerUrls) -> list[Command]:
    """Describe the processes of one installation, told by their environment which servers to use."""
    env = {
        **os.environ,
        "NEXTBEST_POSTGRES_URL": urls.postgres_url,
        "NEXTBEST_REDIS_URL": urls.redis_url,
        "NEXTBEST_DATA_DIR": str(settings.data_dir.resolve()),
    }
    return [Command(name, (sys.executable, "-m", "app.cli", name), env) for name in ("serve", "work")]


def require_free_port(host: str, port: int) -> None:
    """Check, before anything is started, that the API can listen there.

    Raises:
        ConfigError: the address is not ours, or something listens on the port.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port} ({error}); set NEXTBEST_PORT") from error
