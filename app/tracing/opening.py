"""Tracing as the rest of the application sees it. OpenTelemetry's SDK is imported only where it is switched on."""

from collections.abc import Callable, Iterable
from typing import Protocol

from starlette.types import ASGIApp

from app.config import Settings
from decisioning.log.feedback_service import Feedback
from decisioning.model.decision import Decision
from decisioning.model.outcome import Outcome
from storage.spans import EndSpan

OnFolded = Callable[[str, Iterable[Outcome], Callable[[Outcome], bool]], None]
"""Told of outcomes that were folded: the policy's key, the outcomes, and whether one of them teaches it something."""


class Tracing(Protocol):
    """Makes spans, and sends them somewhere."""

    def requests(self, app: ASGIApp) -> ASGIApp:
        """Wrap ``app`` so that each request to the API is a span."""

    def begin_call(self, system: str, operation: str, target: str | None) -> EndSpan | None:
        """Begin the span of a call to a store, if it is part of a request that is traced."""

    def decided(self, decision: Decision) -> None:
        """Note that a decision was answered."""

    def recorded(self, feedback: Feedback, status: str) -> None:
        """Note that an outcome was recorded."""

    def folded(self, policy: str, outcomes: Iterable[Outcome], teaches: Callable[[Outcome], bool]) -> None:
        """Note from which decisions a policy has learned, by the outcomes that were folded."""

    async def close(self) -> None:
        """Send what has not been sent, for a few seconds at most."""


def open_tracing(settings: Settings) -> Tracing | None:
    """Begin to trace, if the settings say so. Raises ``ConfigError`` for variables of OpenTelemetry that are wrong."""
    if settings.traces == "off":
        return None
    # Only now: it takes as long to import as much of the rest, and need not be installed.
    from app.tracing.otlp import otlp_tracing

    return otlp_tracing()
