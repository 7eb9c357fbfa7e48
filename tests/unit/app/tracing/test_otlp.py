"""Spans go to a collector; one that is away holds nothing up, and is told of once."""

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

import app.tracing.spans as spans_module
from app.config import ConfigError
from app.tracing.otlp import _LOUD, otlp_tracing
from app.tracing.spans import Spans
from decisioning.log.feedback_service import Feedback
from tests.support.waiting import eventually

LOGGER = "app.tracing.otlp"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    loggers = [logging.getLogger(name) for name in _LOUD]
    before = [(logger, [*logger.handlers], logger.propagate) for logger in loggers]
    yield
    # Threads that still try to send use random numbers, which other tests must find untouched.
    for thread in threading.enumerate():
        if thread.name == "last spans" or "Otel" in thread.name:
            thread.join(30)
    for logger, handlers, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate


def tell(tracing: Spans, times: int = 1) -> None:
    for number in range(times):
        tracing.recorded(Feedback(f"own-{number}", "gold", "accepted"), "recorded")


async def test_a_collector_that_is_away_holds_nothing_up_and_does_not_flood_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setattr(spans_module, "CLOSE_S", 0.1)
    caplog.set_level(logging.INFO)
    tracing = otlp_tracing()

    async def told() -> bool:
        tell(tracing, 50)
        return bool(caplog.records)

    await eventually(told, "the failure to be told")
    tell(tracing, 1000)
    await tracing.close()
    lines = [(r.name, r.getMessage()) for r in caplog.records if r.name != "asyncio"]
    assert {name for name, _ in lines} == {LOGGER}
    assert all(line.startswith("traces are not sent: ") for _, line in lines)
    assert len(lines) <= 4, lines  # each kind of failure once


async def test_what_was_not_sent_is_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
        tracing = otlp_tracing()
        tell(tracing)
        assert got == []
        await tracing.close()
        server.shutdown()
        thread.join()
    ((path, body),) = got
    assert path == "/v1/traces"
    assert b"feedback" in body
    assert b"nextbest" in body  # the service, where OTEL_SERVICE_NAME names none


def test_a_variable_of_opentelemetry_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    with pytest.raises(ConfigError, match=r"^NEXTBEST_TRACES=otlp: .*max_queue_size"):
        otlp_tracing()
