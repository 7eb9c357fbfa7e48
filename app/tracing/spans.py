"""Spans of requests and of what they call; and, in a trace of its own, what became of a decision.

Nothing that is known of a customer enters a span. It has names, statuses and the request's id (which logs have, too),
but no keys, parameters, paths or messages of errors, and no id of a decision that a caller made.
"""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision as Sampling
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.security import PROTECTED
from app.telemetry import METHODS, REQUEST_ID
from decisioning.log.feedback_service import Feedback
from decisioning.model.decision import Decision
from decisioning.model.outcome import Outcome
from storage import clock
from storage.keys import GENERATED_ID
from storage.spans import EndSpan

MAX_LEARNED_PER_FOLD = 200
"""Spans ``learned`` of one fold; a worker that catches up folds thousands of outcomes at once."""
CLOSE_S = 3.0
"""The longest time that a process waits, when it ends, for spans to be sent."""

_PARENT_HEADERS = (b"traceparent", b"tracestate")
_PROPAGATOR = TraceContextTextMapPropagator()

_began_ms: ContextVar[int] = ContextVar("began_ms", default=0)
"""When the request of this context began, by the clock that decisions go by (Unix ms)."""
_root_ids: ContextVar[tuple[int, int] | None] = ContextVar("root_ids", default=None)
"""The ids of the span that begins in this context, where they are not left to chance."""


class SpanIds(RandomIdGenerator):
    """Makes ids at random, but for the first spans of decisions."""

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        ids = _root_ids.get()
        return super().generate_trace_id() if ids is None else ids[0]

    def generate_span_id(self) -> int:
        """Return the id of a new span."""
        ids = _root_ids.get()
        return super().generate_span_id() if ids is None else ids[1]


def decision_ids(decision_id: str) -> tuple[int, int]:
    """Return the ids of a decision's trace and of its first span.

    The trace has the 32 hex digits of a generated id, or the first 32 of the SHA-256 of a caller's own.
    """
    digest = hashlib.sha256(decision_id.encode()).hexdigest()
    generated = GENERATED_ID.fullmatch(decision_id)
    trace_id = int(generated[2], 16) if generated else 0
    return trace_id or int(digest[:32], 16), int(digest[32:48], 16) or 1


class Spans:
    """Makes spans by a provider of its own (that of the process is left to others), whose ids are ``SpanIds``."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("nextbest")

    def requests(self, app: ASGIApp) -> ASGIApp:
        """Wrap ``app`` so that each request to the API is a span."""
        return RequestSpans(app, self._tracer)

    def begin_call(self, system: str, operation: str, target: str | None) -> EndSpan | None:
        """Begin the span of a call to a store, if it is part of a request that is traced."""
        if not trace.get_current_span().is_recording():
            return None
        attributes = {"db.system.name": system, "db.operation.name": operation}
        if target is not None:
            attributes["db.stored_procedure.name" if system == "redis" else "db.collection.name"] = target
        name = operation if target is None else f"{operation} {target}"
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

        def end(error: BaseException | None) -> None:
            if error is not None:
                _note_error(span, type(error).__name__)
            span.end()

        return end

    def decided(self, decision: Decision) -> None:
        """Begin the trace of a decision that waits for outcomes. A repeated answer is linked to the first one."""
        if decision.feedback_until is None:  # not logged: nothing will be learned from it
            return
        if decision.decided_at_ms < _began_ms.get():
            found = self._decision_context(decision.decision_id)
            if found is not None:
                trace.get_current_span().add_link(found)
            return
        ids = _root_ids.set(decision_ids(decision.decision_id))
        try:
            # In an empty context: it is the first span of its trace.
            span = self._tracer.start_span("decided", Context(), links=_links_to_request())
        finally:
            _root_ids.reset(ids)
        if span.is_recording():
            trace.get_current_span().add_link(span.get_span_context())
            attributes: dict[str, AttributeValue] = {
                "nextbest.placement": decision.placement,
                "nextbest.policy": str(decision.policy.key),
                "nextbest.offers": len(decision.offers),
                "nextbest.degraded": [str(reason) for reason in decision.degraded],
            }
            span.set_attributes(attributes)
        span.end()

    def recorded(self, feedback: Feedback, status: str) -> None:
        """Add to the trace of a decision that an outcome was recorded."""
        attributes = {"nextbest.outcome": feedback.outcome, "nextbest.status": status}
        parent = self._decision_context(feedback.decision_id)
        if parent is not None:
            span = self._add("feedback", parent, attributes)
            trace.get_current_span().add_link(span.get_span_context())

    def folded(self, policy: str, outcomes: Iterable[Outcome], teaches: Callable[[Outcome], bool]) -> None:
        """Add to the traces of decisions that a policy has learned from them; a bounded number of times."""
        learned: dict[str, list[str]] = {}
        parents: dict[str, SpanContext] = {}
        for outcome in outcomes:
            known = outcome.decision_id in parents
            if not known and len(parents) >= MAX_LEARNED_PER_FOLD:
                continue
            parent = parents.get(outcome.decision_id) or self._decision_context(outcome.decision_id)
            if parent is not None and teaches(outcome):
                parents[outcome.decision_id] = parent
                learned.setdefault(outcome.decision_id, []).append(outcome.outcome)
        for decision_id, names in learned.items():
            attributes = {"nextbest.policy": policy, "nextbest.outcome": ", ".join(sorted({*names}))}
            self._add("learned", parents[decision_id], attributes)

    async def close(self) -> None:
        """Send what has not been sent, for ``CLOSE_S`` at most."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop has ended: it took too long
                loop.call_soon_threadsafe(done.set)

        # In a thread that nobody waits for at the end: a collector that is away holds it up for much longer.
        threading.Thread(target=send, name="last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), CLOSE_S)

    def _decision_context(self, decision_id: str) -> SpanContext | None:
        """Return the context of the first span of a decision, made where it was decided; ``None``: not sampled."""
        trace_id, span_id = decision_ids(decision_id)
        sampled = self._provider.sampler.should_sample(None, trace_id, "decided", SpanKind.INTERNAL)
        if sampled.decision is not Sampling.RECORD_AND_SAMPLE:
            return None
        return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def _add(self, name: str, parent: SpanContext, attributes: dict[str, str]) -> Span:
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
        span = self._tracer.start_span(name, context, attributes=attributes, links=_links_to_request())
        span.end()
        return span


class RequestSpans:
    """ASGI middleware: a span for each request to the API, within that of the caller if it names one."""

    def __init__(self, app: ASGIApp, tracer: trace.Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PROTECTED):
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "HTTP"
        span = self._tracer.start_span(method, _parent_of(scope), SpanKind.SERVER)
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        before = _began_ms.set(clock.now_ms())
        try:
            # Neither the message of an error nor its traceback is recorded: they may quote what was sent.
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                await self._app(scope, receive, watched)
        finally:
            _began_ms.reset(before)
            if span.is_recording():
                _describe_request(span, method, status, scope)
            span.end()


def _describe_request(span: Span, method: str, status: int, scope: Scope) -> None:
    """Set what OpenTelemetry's conventions name for HTTP, but for the path, which may name a customer."""
    attributes: dict[str, str | int] = {
        "http.request.method": method if method in METHODS else "_OTHER",
        "http.response.status_code": status,
        "url.scheme": scope.get("scheme", "http"),
        "nextbest.request_id": REQUEST_ID.get() or "",
    }
    route = getattr(scope.get("route"), "path_format", None)
    if route is not None:
        span.update_name(f"{method} {route}")
        attributes["http.route"] = route
    span.set_attributes(attributes)
    if status >= 500:
        _note_error(span, str(status))


def _parent_of(scope: Scope) -> Context:
    carrier = {
        name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _PARENT_HEADERS
    }
    return _PROPAGATOR.extract(carrier, Context())


def _links_to_request() -> list[Link]:
    request = trace.get_current_span()
    return [Link(request.get_span_context())] if request.is_recording() else []


def _note_error(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))
