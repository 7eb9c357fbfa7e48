"""Spans that stay in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from app.tracing.spans import SpanIds, Spans


@dataclass
class Memory:
    """Tracing, and the spans that it has made."""

    sampler: Sampler | None = None
    _exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def __post_init__(self) -> None:
        self.provider = TracerProvider(self.sampler, shutdown_on_exit=False, id_generator=SpanIds())
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Spans(self.provider)

    def clear(self) -> None:
        """Forget the spans so far."""
        self._exporter.clear()

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Return all spans that have ended."""
        return self._exporter.get_finished_spans()

    def of_trace(self, trace_id: str) -> list[ReadableSpan]:
        """Return the spans of a trace, by its 32 hex digits, in the order in which they ended."""
        return [s for s in self.spans() if s.context and s.context.trace_id == int(trace_id, 16)]

    def requests(self) -> list[ReadableSpan]:
        """Return the spans of requests."""
        return [s for s in self.spans() if s.kind.name == "SERVER"]

    def children(self, parent: ReadableSpan) -> Iterator[ReadableSpan]:
        """Give the spans right below another one."""
        for span in self.spans():
            if span.parent and parent.context and span.parent.span_id == parent.context.span_id:
                yield span

    def written(self) -> str:
        """Return everything that the spans say."""
        return "".join(span.to_json() for span in self.spans())
