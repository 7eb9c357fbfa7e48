"""The traffic of this moment, as it travels."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas import shown


class LatencyOut(BaseModel):
    """Quantiles of the time that answers to decisions took, in milliseconds, as far as the histogram tells."""

    p50: float
    p95: float
    p99: float


class LiveNow(BaseModel):
    """Numbers of the last seconds, of all processes that share a folder of metrics."""

    model_config = shown(
        {
            "at": "2026-03-08T09:00:00Z",
            "window_s": 10.0,
            "decisions_per_s": 41.3,
            "placements_per_s": {"home": 40.0, "desk": 1.3},
            "feedback_per_s": {"accepted": 2.1, "rejected": 3.4},
            "latency_ms": {"p50": 1.6, "p95": 3.9, "p99": 7.2},
            "degraded_per_s": {"redis_unavailable": 0.2},
            "decisions": 120345,
            "outcomes": {"presented": 80210, "clicked": 9120, "accepted": 6034, "rejected": 7110},
            "archive_behind_s": 0.1,
            "learning_behind_s": 0.0,
        }
    )

    at: datetime
    window_s: float = Field(
        description="seconds that the rates are of: up to 10; 0 in the first answer to anybody"
    )
    decisions_per_s: float
    placements_per_s: dict[str, float] = Field(description="decisions a second, by placement")
    feedback_per_s: dict[str, float] = Field(
        description="outcomes a second that were told for the first time"
    )
    latency_ms: LatencyOut | None = Field(description="null while nobody asks for a decision")
    degraded_per_s: dict[str, float] = Field(description="degraded decisions a second, by reason")
    decisions: int = Field(description="since the processes were started")
    outcomes: dict[str, int] = Field(description="told since the processes were started, by outcome")
    archive_behind_s: float | None = Field(
        description="age of the oldest record that is not archived yet; null if that is not known"
    )
    learning_behind_s: float | None = Field(
        description="age of the oldest record that a deciding policy has not learned from yet"
    )
