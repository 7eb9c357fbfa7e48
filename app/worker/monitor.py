"""The worker as monitoring sees it: `/metrics`, `/livez` and `/readyz` on a port of its own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.config import ConfigError, Settings
from app.telemetry import render_metrics

Checks = Callable[[], Awaitable[Mapping[str, str]]]


def monitor_app(check: Checks) -> Starlette:
    """Make the application. ``check`` gives each part of the worker with its state, ``ok`` or what is wrong with it."""

    async def livez(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        checks = await check()
        ready = all(state == "ok" for state in checks.values())
        body = {"status": "ok" if ready else "unavailable", "checks": dict(checks), "warnings": {}}
        return JSONResponse(body, 200 if ready else 503)

    async def metrics(request: Request) -> Response:
        return Response(render_metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)],
    )


class _Server(uvicorn.Server):
    """A server that leaves signals to the worker."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def monitored(settings: Settings, check: Checks) -> AsyncIterator[None]:
    """Serve until the block ends; nothing where no port is set. Raises ``ConfigError`` if the port is taken."""
    if not settings.work_port:
        yield
        return
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.work_port), family=family)
    except OSError as error:
        raise ConfigError(
            f"a worker cannot listen on {settings.host} port {settings.work_port} ({error}): set NEXTBEST_WORK_PORT,"
            " to another port for each worker of a machine, or to 0"
        ) from error
    config = uvicorn.Config(
        monitor_app(check),
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listener.close()
