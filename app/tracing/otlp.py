"""Sending spans to a collector, by OTLP over HTTP, as OpenTelemetry's own variables say."""

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from app.config import ConfigError
from app.tracing.spans import SpanIds, Spans
from storage.failures import FailureLog

log = logging.getLogger(__name__)

WHAT = "sending traces"
_LOUD = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "opentelemetry.sdk.trace.export")
"""Loggers of what sends spans. They tell of each batch that failed, and of each span that is dropped meanwhile."""


class _Failures(logging.Handler):
    """Hands what these loggers say to a ``FailureLog``; the lock that a handler has makes it safe in threads."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._failures = FailureLog(log)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the first failure; count those that follow."""
        self._failures.note(WHAT, "traces are not sent: %s", record.getMessage())

    def recovered(self) -> None:
        """Write that it is over, if anything had failed."""
        self.acquire()
        try:
            self._failures.recovered(WHAT)
        finally:
            self.release()


class _Watched(SpanExporter):
    """An exporter that says when it works again."""

    def __init__(self, exporter: SpanExporter, failures: _Failures) -> None:
        self._exporter = exporter
        self._failures = failures

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._failures.recovered()
        return result

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()


def otlp_tracing() -> Spans:
    """Make what sends spans from a thread of its own, which holds up nothing. Raises ``ConfigError``."""
    try:
        exporter = OTLPSpanExporter()
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "nextbest"}))
        provider = TracerProvider(resource=resource, id_generator=SpanIds(), shutdown_on_exit=False)
        failures = _Failures()
        provider.add_span_processor(BatchSpanProcessor(_Watched(exporter, failures)))
    except (ValueError, OSError) as error:
        raise ConfigError(f"NEXTBEST_TRACES=otlp: a variable of OpenTelemetry is wrong: {error}") from error
    for name in _LOUD:
        logger = logging.getLogger(name)
        logger.handlers[:] = [failures]
        logger.propagate = False
    return Spans(provider)
