"""Counters of all processes of this machine, read at one moment, and the rates between two of them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric

DECISIONS_ROUTE = "/v1/decisions"
QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
RECORDED = ("recorded", "late")
"""What became of feedback that was told for the first time."""


@dataclass(frozen=True)
class Counted:
    """Counters since the installation's processes were started. ``at_s``: monotonic seconds."""

    at_s: float
    decisions: float = 0.0
    placements: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, float] = field(default_factory=dict)
    degraded: Mapping[str, float] = field(default_factory=dict)
    buckets: Mapping[float, float] = field(default_factory=dict)
    """Answers to decisions by the upper bound of their time (s), cumulative."""


@dataclass(frozen=True)
class Rates:
    """Events a second between two moments."""

    over_s: float
    decisions: float
    placements: Mapping[str, float]
    outcomes: Mapping[str, float]
    degraded: Mapping[str, float]
    latency_ms: Mapping[str, float] | None
    """Quantiles of the time that answers took; ``None`` if there were none."""


def count(families: Iterable[Metric], at_s: float) -> Counted:
    """Sum up what Prometheus's collectors give, over all that is told apart there and not here."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    buckets: dict[float, float] = defaultdict(float)
    wanted: Mapping[str, Callable[[Mapping[str, str]], str | None]] = {
        "nextbest_decisions_total": lambda labels: labels["placement"],
        "nextbest_feedback_total": lambda labels: labels["outcome"] if labels["status"] in RECORDED else None,
        "nextbest_degraded_total": lambda labels: labels["reason"],
    }
    for family in families:
        for sample in family.samples:
            if sample.name in wanted:
                label = wanted[sample.name](sample.labels)
                if label is not None:
                    found[sample.name][label] += sample.value
            elif (
                sample.name == "nextbest_request_seconds_bucket" and sample.labels["route"] == DECISIONS_ROUTE
            ):
                buckets[float(sample.labels["le"])] += sample.value
    placements = found["nextbest_decisions_total"]
    return Counted(
        at_s,
        sum(placements.values()),
        dict(placements),
        dict(found["nextbest_feedback_total"]),
        dict(found["nextbest_degraded_total"]),
        dict(buckets),
    )


def rates(before: Counted, after: Counted) -> Rates:
    """Compare two moments. A counter that fell, since processes were started anew, counts as still."""
    over_s = max(after.at_s - before.at_s, 1e-9)

    def gains(old: Mapping[str, float], new: Mapping[str, float]) -> dict[str, float]:
        changed = ((name, value - old.get(name, 0.0)) for name, value in new.items())
        return {name: gain / over_s for name, gain in sorted(changed) if gain > 0}

    grown = {bound: value - before.buckets.get(bound, 0.0) for bound, value in after.buckets.items()}
    return Rates(
        over_s,
        max(after.decisions - before.decisions, 0.0) / over_s,
        gains(before.placements, after.placements),
        gains(before.outcomes, after.outcomes),
        gains(before.degraded, after.degraded),
        quantiles_ms(grown),
    )


def quantiles_ms(cumulative: Mapping[float, float]) -> dict[str, float] | None:
    """Estimate quantiles (ms) of a histogram from its cumulative counts by upper bound (s).

    Interpolated within a bucket, as Prometheus does it; beyond the last finite bound it is that bound.
    """
    bounds = sorted(cumulative)
    total = cumulative[bounds[-1]] if bounds else 0.0
    if total <= 0:
        return None
    return {name: 1000 * _quantile(bounds, cumulative, share * total) for name, share in QUANTILES}


def _quantile(bounds: list[float], cumulative: Mapping[float, float], rank: float) -> float:
    low = below = 0.0
    for bound in bounds:
        if cumulative[bound] >= rank and cumulative[bound] > below:
            if bound == float("inf"):
                break
            return low + (bound - low) * (rank - below) / (cumulative[bound] - below)
        low = bound if bound != float("inf") else low
        below = cumulative[bound]
    return low
