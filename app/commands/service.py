"""`nextbest up`, `serve`, `work` and `migrate`: the processes of an installation, and its database."""

import os
import socket
import sys

import typer
import uvicorn
import uvloop

from app.commands.interrupts import between_steps
from app.config import ConfigError, Settings, get_settings
from app.embedded.server_urls import ServerUrls
from app.processes.collector import spare_start
from app.processes.priority import give_way
from app.processes.supervise import Command, Supervisor
from app.servers import server_urls, watched_servers
from app.telemetry import configure_logs, prepare_metrics
from storage.addresses import parse_postgres
from storage.postgres import POSTGRES_ERRORS

KEEP_ALIVE_S = 75
"""How long an idle connection is kept: longer than load balancers (60 s) and httpx (5 s) do, so that the side that
sends is the one that closes, and no request meets a connection that is closed under way."""


def up() -> None:
    """Run everything: servers (unless configured), migrations, API and worker, until Ctrl-C."""
    settings = get_settings()
    configure_logs(settings.log_level, settings.log_format)
    require_free_port(settings.host, settings.port)
    if settings.work_port:
        require_free_port(settings.host, settings.work_port, "NEXTBEST_WORK_PORT")
    prepare_metrics(settings.data_dir.resolve())  # one folder, so that /metrics tells of the worker as well
    with between_steps() as check, watched_servers(settings) as (urls, revive):
        check()
        _upgrade(urls.postgres_url)
        check()
        typer.echo(
            f"nextbest: http://{settings.host}:{settings.port}"
            " (console: /console, API documentation: /docs). Ctrl-C stops it."
        )
        status = Supervisor(service_commands(settings, urls), watch=revive).run()
    raise typer.Exit(status)


def serve() -> None:
    """Serve the HTTP API until Ctrl-C, with as many processes as configured."""
    settings = get_settings()
    if settings.workers == 1:
        spare_start()
    else:
        # Here, since it is needed there alone.
        from app.processes.forking import fork_processes

        fork_processes()
    prepare_metrics(settings.data_dir)
    with server_urls(settings) as urls:
        urls.export()
        uvicorn.run(
            "app.main:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            loop="uvloop",
            http="app.protocol:Protocol",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_S,
            # Requests are counted in metrics; logs have our own form.
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=10,
        )


def work() -> None:
    """Learn, archive and expire until Ctrl-C."""
    spare_start()
    settings = get_settings()
    configure_logs(settings.log_level, settings.log_format)
    prepare_metrics(settings.data_dir)
    with server_urls(settings) as urls:
        urls.export()
        give_way(settings.worker_nice)
        # Only now: the worker's modules make their metrics when they are imported.
        from app.worker.run import run_worker

        uvloop.run(run_worker(get_settings()))


def migrate() -> None:
    """Bring the database to the present schema."""
    with server_urls(get_settings()) as urls:
        _upgrade(urls.postgres_url)
    typer.echo("The database has the present schema.")


def _upgrade(url: str) -> None:
    """Bring the database at ``url`` to the present schema. Raises ``ConfigError`` if it does not let us."""
    # Here, since processes that serve need none of it, and start sooner without.
    import migrations

    try:
        migrations.upgrade(parse_postgres(url))
    except POSTGRES_ERRORS as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the database cannot be brought to the present schema: {reason}") from error


def service_commands(settings: Settings, urls: ServerUrls) -> list[Command]:
    """Describe the processes of one installation."""
    # Told by their environment which servers to use: embedded ones are in no setting.
    env = {
        **os.environ,
        **urls.variables,
        "NEXTBEST_DATA_DIR": str(settings.data_dir.resolve()),
    }
    return [Command(name, (sys.executable, "-m", "app.cli", name), env) for name in ("serve", "work")]


def require_free_port(host: str, port: int, variable: str = "NEXTBEST_PORT") -> None:
    """Check that a process can listen there. Raises ``ConfigError`` for a foreign address, or a port that is taken."""
    # Before anything is started: otherwise the API would crash again and again, long after the servers have started.
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port} ({error}); set {variable}") from error
