"""Metrics (Prometheus, correct with several processes) and logs."""

import logging
import os
import time
from functools import cache
from pathlib import Path

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MULTIPROC = "PROMETHEUS_MULTIPROC_DIR"

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def prepare_metrics(data_dir: Path) -> None:
    """Give this installation's processes a common folder for their metrics, before the first one is made.

    A folder named in the environment is used as it is; otherwise a fresh one is made under ``data_dir``.
    """
    if MULTIPROC in os.environ:
        Path(os.environ[MULTIPROC]).mkdir(parents=True, exist_ok=True)
    else:
        folder = data_dir / "metrics" / str(os.getpid())
        folder.mkdir(parents=True, exist_ok=True)
        # A process that had this number before may have left its counters.
        for old in folder.glob("*.db"):
            old.unlink()
        os.environ[MULTIPROC] = str(folder)


def configure_logs(level: str) -> None:
    """Structured lines on standard error, for our own loggers and those of the libraries."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.LogfmtRenderer(sort_keys=False, bool_as_flag=False),
            ],
        )
    )
    root = logging.getLogger()
    # In place of all others, so that libraries do not write lines of another form.
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "alembic"):
        logging.getLogger(noisy).setLevel("WARNING")


class Metrics:
    """ASGI middleware: requests by route, status and time."""

    def __init__(self, app: ASGIApp) -> None:
        # Here, since metrics must not be made before `prepare_metrics` has said where they are kept.
        from app.metrics import REQUEST_SECONDS, REQUESTS

        self._app = app
        # Of each method, route and status there is one counter; it takes longer to find it than to use it.
        self._requests = cache(REQUESTS.labels)
        self._seconds = cache(REQUEST_SECONDS.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"  # callers can make up any
            self._requests(method, route, status).inc()
            self._seconds(route).observe(time.perf_counter() - started)
