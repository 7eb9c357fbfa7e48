"""CPU time that traces take: a request with the spans of a decision, encoded as for a collector, and sent nowhere."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import typer
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased

from app.tracing.spans import SpanIds, Spans
from decisioning.log.feedback_service import Feedback

REQUESTS = 5_000
CALLS = (("redis", "HMGET", None), ("redis", "ZRANGE", None), ("redis", "FCALL", "nb_decide"))


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode spans, and forget them."""
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


def _measure(sampler: Sampler | None) -> float:
    """Measure the CPU time of a request (us), with the thread that encodes; ``None``: without traces."""
    provider = TracerProvider(sampler, id_generator=SpanIds(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    spans = Spans(provider)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if sampler is not None:
            for call in CALLS:
                end = spans.begin_call(*call)
                if end is not None:
                    end(None)
            # The span of an outcome costs what that of a decision does.
            spans.recorded(Feedback(f"nb001-{time.time_ns():032x}", "gold", "accepted"), "recorded")
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        pass

    async def run() -> None:
        app = answer if sampler is None else spans.requests(answer)
        for _ in range(REQUESTS):
            scope = {"type": "http", "method": "POST", "path": "/v1/decisions", "headers": []}
            await app(scope, None, send)  # type: ignore[arg-type]

    began_s = time.process_time()
    asyncio.run(run())
    provider.shutdown()
    return (time.process_time() - began_s) / REQUESTS * 1e6


def main() -> None:
    """Print the CPU time that is added to a request: with all traces sampled, and with one in a hundred."""
    without = min(_measure(None) for _ in range(3))
    for name, sampler in (("all", ALWAYS_ON), ("1 in 100", ParentBased(TraceIdRatioBased(0.01)))):
        added = min(_measure(sampler) for _ in range(3)) - without
        typer.echo(f"{name:>8} sampled: {added:.0f} us a request")


if __name__ == "__main__":
    main()
