"""Rates and quantiles between two moments, from counters that several processes keep."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram

from app.api.live.counters import DECISIONS_ROUTE, Counted, count, quantiles_ms, rates

INFINITE = float("inf")


def test_what_is_told_apart_in_metrics_is_summed_up() -> None:
    registry = CollectorRegistry()
    labels = ["placement", "policy", "version", "group"]
    decisions = Counter("nextbest_decisions", "", labels, registry=registry)
    decisions.labels("home", "calibrated", "1", "champion").inc(3)
    decisions.labels("home", "random", "1", "control").inc(2)
    decisions.labels("desk", "calibrated", "1", "champion").inc()
    feedback = Counter("nextbest_feedback", "", ["outcome", "status"], registry=registry)
    for status, times in (("recorded", 4), ("late", 1), ("duplicate", 7), ("refused", 2)):
        feedback.labels("accepted", status).inc(times)
    seconds = Histogram("nextbest_request_seconds", "", ["route"], buckets=(0.01, 0.1), registry=registry)
    seconds.labels(DECISIONS_ROUTE).observe(0.005)
    seconds.labels("/v1/feedback").observe(0.05)

    found = count(registry.collect(), 1.0)

    assert found.decisions == 6
    assert found.placements == {"home": 5, "desk": 1}
    assert found.outcomes == {"accepted": 5}, "what is told again does not count again"
    assert found.buckets == {0.01: 1, 0.1: 1, INFINITE: 1}


def test_rates_are_a_second_and_never_negative() -> None:
    before = Counted(10.0, 100, {"home": 60, "desk": 40}, {"accepted": 9}, {"policy_slow": 3})
    after = Counted(14.0, 120, {"home": 80, "desk": 2}, {"accepted": 11, "rejected": 4}, {"policy_slow": 3})
    found = rates(before, after)
    assert found.over_s == 4.0
    assert found.decisions == 5.0
    assert found.placements == {"home": 5.0}, "a counter that fell was begun anew"
    assert found.outcomes == {"accepted": 0.5, "rejected": 1.0}
    assert found.degraded == {}
    assert found.latency_ms is None
    assert rates(after, before).decisions == 0.0


@pytest.mark.parametrize(
    ("cumulative", "median"),
    [
        ({0.01: 10.0, 0.1: 10.0, INFINITE: 10.0}, 5.0),
        ({0.01: 0.0, 0.02: 10.0, INFINITE: 10.0}, 15.0),
        ({0.01: 4.0, 0.02: 8.0, INFINITE: 8.0}, 10.0),
        ({0.01: 0.0, 0.02: 1.0, INFINITE: 10.0}, 20.0),  # beyond the last bound: at least that
    ],
)
def test_quantiles_are_interpolated_within_their_bucket(
    cumulative: dict[float, float], median: float
) -> None:
    found = quantiles_ms(cumulative)
    assert found is not None
    assert found["p50"] == pytest.approx(median)
    assert found["p50"] <= found["p95"] <= found["p99"]


def test_without_answers_there_are_no_quantiles() -> None:
    assert quantiles_ms({}) is None
    assert quantiles_ms({0.01: 0.0, INFINITE: 0.0}) is None
