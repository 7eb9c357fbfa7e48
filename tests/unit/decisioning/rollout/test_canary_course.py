"""The course of a canary's test: its points are sums, the last one is the test itself, and evidence is the guard's."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from decisioning.model.deployment import Guardrails
from decisioning.rollout.canary_course import CountedPart, course_points
from decisioning.rollout.guardrail import GroupCounts, comparison, evidence, evidence_of_better, judge

START = datetime(2026, 3, 1, tzinfo=UTC)
GUARDRAILS = Guardrails(alpha=0.05)


def part(hour: int, canary: tuple[int, int], others: tuple[int, int]) -> CountedPart:
    return CountedPart(START + timedelta(hours=hour), GroupCounts(*canary), GroupCounts(*others))


def test_points_add_up_and_the_last_one_is_what_the_test_counted() -> None:
    parts = [part(1, (10, 1), (90, 20)), part(2, (20, 2), (100, 30)), part(3, (5, 0), (5, 5))]
    points = course_points(parts, part(3, (40, 4), (200, 56)), GUARDRAILS, 0.0)
    assert [(p.canary.observations, p.canary.acceptances) for p in points] == [(10, 1), (30, 3), (40, 4)]
    assert [(p.others.observations, p.others.acceptances) for p in points] == [(90, 20), (190, 50), (200, 56)]
    assert [p.at for p in points] == [START + timedelta(hours=hour) for hour in (1, 2, 3)]
    assert points[1].difference == pytest.approx(3 / 30 - 50 / 190)


def test_a_log_that_was_read_in_part_still_ends_with_the_test() -> None:
    points = course_points([part(1, (10, 1), (90, 20))], part(9, (400, 4), (2000, 560)), GUARDRAILS, 0.0)
    assert [p.canary.observations for p in points] == [10, 400]
    assert points[-1].at == START + timedelta(hours=9)


def test_before_anything_was_counted_there_is_one_point_that_says_nothing() -> None:
    (point,) = course_points([], part(0, (0, 0), (0, 0)), GUARDRAILS, 0.0)
    assert (point.difference, point.low, point.high) == (None, -1.0, 1.0)
    assert point.worse_log_e <= 0 >= point.better_log_e


def test_evidence_and_interval_are_those_that_the_guard_goes_by() -> None:
    counted = part(1, (200, 9), (1000, 110))
    carried = 1.5
    (point,) = course_points([], counted, GUARDRAILS, carried)
    found = comparison(counted.canary, counted.others, GUARDRAILS)
    assert (point.low, point.high) == found.difference
    assert point.worse_log_e == pytest.approx(
        evidence(counted.canary, counted.others, GUARDRAILS).log_e + carried
    )
    better = evidence_of_better(counted.canary, counted.others, GUARDRAILS)
    assert point.better_log_e == better.log_e


def test_the_first_point_at_which_the_evidence_is_enough_is_where_the_guard_rolls_back() -> None:
    needed = -math.log(GUARDRAILS.alpha)
    parts = [part(hour, (40, 2), (300, 60)) for hour in range(1, 20)]
    points = course_points(parts, part(20, (800, 40), (6000, 1200)), GUARDRAILS, 0.0)
    first = next(i for i, point in enumerate(points) if point.worse_log_e >= needed)
    assert first > 0
    for point in points[:first]:
        assert judge(point.canary, point.others, GUARDRAILS) is None
        assert point.high >= -GUARDRAILS.margin
    verdict = judge(points[first].canary, points[first].others, GUARDRAILS)
    assert verdict is not None
    assert verdict.cause == "worse"
    assert points[first].high < -GUARDRAILS.margin


def test_overwhelming_evidence_stays_finite() -> None:
    (point,) = course_points([], part(1, (100_000, 0), (100_000, 90_000)), GUARDRAILS, 0.0)
    assert point.worse_log_e == 700.0
    assert -700.0 <= point.better_log_e <= 0.0
