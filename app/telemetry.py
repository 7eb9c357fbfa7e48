"""Metrics (Prometheus, correct with several processes), logs, and the ids of requests that both are known by."""

import logging
import os
import re
import time
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Literal

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage.redaction import format_traceback

MULTIPROC = "PROMETHEUS_MULTIPROC_DIR"
LogFormat = Literal["text", "json"]

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered."""
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
"""Ids that callers may give; others are replaced: they go into headers and logs."""

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


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


def open_registry() -> Any:
    """Make a registry of Prometheus of the metrics of all processes that share this one's folder.

    Without a folder it is that of this process alone.
    """
    # Here, since that package looks for the folder when it is imported: `prepare_metrics` must have been there before.
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    if MULTIPROC not in os.environ:
        return REGISTRY
    # The registry of this process knows nothing of the worker and of other API processes.
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def render_metrics() -> bytes:
    """Write the metrics of all processes that share this one's folder, in Prometheus's text format.

    Those that have no value yet, since what they count has not happened, are there by name, kind and meaning.
    """
    from prometheus_client import REGISTRY, generate_latest

    registry = open_registry()
    written: bytes = generate_latest(registry)
    if registry is REGISTRY:
        return written
    known = {family.name for family in registry.collect()}
    missing = [
        f"# HELP {name} {family.documentation}\n# TYPE {name} {family.type}\n"
        for family in REGISTRY.collect()
        if family.name not in known and family.name.startswith("nextbest_")
        for name in (f"{family.name}_total" if family.type == "counter" else family.name,)
    ]
    return written + "".join(missing).encode()


def _add_request_id(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    return event


def log_formatter(form: LogFormat = "text") -> logging.Formatter:
    """Make what writes a line of the log: ``text`` (logfmt), or ``json``, with the id of the request.

    Of errors a line has no messages that may quote personal data (``storage.redaction``).
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(format_traceback),
    ]
    render: structlog.typing.Processor
    if form == "json":
        shared.append(_add_request_id)
        render = structlog.processors.JSONRenderer(default=str)
    else:
        render = structlog.processors.LogfmtRenderer(sort_keys=False, bool_as_flag=False)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    )


def configure_logs(level: str, form: LogFormat = "text") -> None:
    """Structured lines on standard error, for our own loggers and those of the libraries.

    ``form``: ``text`` (logfmt), or ``json``: an object a line, with the id of the request where it is about one.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(log_formatter(form))
    root = logging.getLogger()
    # In place of all others, so that libraries do not write lines of another form.
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "alembic"):
        logging.getLogger(noisy).setLevel("WARNING")


class Metrics:
    """ASGI middleware: an id for each request, the caller's own if it can be used; requests by route, status, time."""

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
        request_id = _find_request_id(scope)
        told = (b"x-request-id", request_id)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), told]
            await send(message)

        before = REQUEST_ID.set(request_id.decode())
        try:
            await self._app(scope, receive, watched)
        finally:
            REQUEST_ID.reset(before)
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"  # callers can make up any
            self._requests(method, route, status).inc()
            self._seconds(route).observe(time.perf_counter() - started)


def _find_request_id(scope: Scope) -> bytes:
    for name, value in scope.get("headers", ()):
        if name == b"x-request-id":
            if _GIVEN_ID.fullmatch(value):
                return bytes(value)
            break
    return os.urandom(8).hex().encode()
