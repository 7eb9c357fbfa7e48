"""Reports on what is watched: drift, and canaries beside their champions."""

import asyncio
import math
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from app.api.deps import Reader, State, problems
from app.api.monitoring.schemas import (
    CanaryCourse,
    CanaryQuery,
    CanaryReport,
    CanarySide,
    CanaryStage,
    CoursePointOut,
    DriftDetection,
    DriftQuery,
    DriftReport,
    DriftWindow,
)
from app.api.schemas import answer_of
from bandits.intervals import wilson_interval
from bandits.monitoring.sequential_test import Interval
from bandits.policy import PolicyKey
from decisioning.model.deployment import Deployment, Guardrails
from decisioning.reporting.over_time.store_canary_course import counted_parts
from decisioning.rollout.canary_course import CountedPart, CoursePoint, course_points
from decisioning.rollout.guardrail import GroupCounts, comparison
from decisioning.rollout.store_canary import CanaryTest

router = APIRouter(prefix="/v1/reports", tags=["reports"])

TestId = Annotated[int, Path(ge=1, le=2**63 - 1, description="as `GET /v1/reports/canaries` has it")]


@router.get("/drift", responses=problems())
async def read_drift(state: State, key: Reader, query: Annotated[DriftQuery, Query()]) -> DriftReport:
    """Acceptance of offers as it is now, and when it changed.

    Watched with ADWIN in the order of decisions, up to the first whose result is not known. What is not accepted within
    `NEXTBEST_DRIFT_HORIZON_S` counts as not accepted, so a rate here is lower than in the acceptance report where
    answers take longer.
    """
    windows = [_window_out(row) for row in await state.drift.windows(query.placement, query.offer)]
    found = await state.drift.detections(query.placement, query.offer, query.limit)
    return DriftReport(windows=windows, detections=[answer_of(DriftDetection, row) for row in found])


def _window_out(row: Any) -> DriftWindow:
    rate, low, high = wilson_interval(row.acceptances, row.observations)
    return answer_of(DriftWindow, row, rate=rate, low=low, high=high)


@router.get("/canaries", responses=problems())
async def read_canaries(state: State, key: Reader, query: Annotated[CanaryQuery, Query()]) -> CanaryReport:
    """Canaries and their champions, as guardrails see them: stage by stage, the newest first.

    A customer counts once in a stage, by the first decision; intervals hold at all times together. Decisions are
    counted in their order, up to the first whose result is not known (`counted_until`), never acceptances alone.
    """
    deployments = state.current_catalogue().deployments
    tests = await state.canaries.tests(query.placement, query.limit)
    return CanaryReport(stages=[_stage_out(test, deployments.get(test.placement)) for test in tests])


@router.get("/canaries/{test_id}/course", responses=problems(404))
async def read_canary_course(test_id: TestId, state: State, key: Reader) -> CanaryCourse:
    """Report the course of a canary's test: evidence and the interval of the difference as they were over time.

    Made again from the archived decisions that the test has counted. The intervals hold at all times together, so the
    test may be read at any point; a canary is rolled back at the first one where `worse_log_e` reaches `needed_log_e`.
    What takes longer than 8 s is given up (422). One is read at a time.
    """
    test = await state.canaries.test(test_id)
    async with state.courses:
        parts = await counted_parts(state.engine, test)
    deployment = state.current_catalogue().deployments.get(test.placement)
    guardrails = Guardrails() if deployment is None else deployment.guardrails
    now = CountedPart(test.seen.at, test.canary, test.others)
    points = await asyncio.to_thread(course_points, parts, now, guardrails, test.carried)
    seen = sum(part.canary.observations + part.others.observations for part in parts)
    return answer_of(
        CanaryCourse,
        test,
        needed_log_e=-math.log(guardrails.alpha),
        carried_log_e=test.carried,
        margin=guardrails.margin,
        promotes=deployment is not None and _is_promoted(test, deployment),
        missing=max(test.canary.observations + test.others.observations - seen, 0),
        points=[_point_out(point) for point in points],
    )


def _is_promoted(test: CanaryTest, deployment: Deployment) -> bool:
    turn = None if deployment.autopilot is None else deployment.autopilot.turn
    return turn is not None and (turn.policy, turn.since_ms) == (test.policy, test.since_ms)


def _point_out(point: CoursePoint) -> CoursePointOut:
    return answer_of(
        CoursePointOut,
        point,
        canary_observations=point.canary.observations,
        canary_acceptances=point.canary.acceptances,
        champion_observations=point.others.observations,
        champion_acceptances=point.others.acceptances,
        difference_low=point.low,
        difference_high=point.high,
    )


def _stage_out(test: CanaryTest, deployment: Deployment | None) -> CanaryStage:
    guardrails = Guardrails() if deployment is None else deployment.guardrails
    found = comparison(test.canary, test.others, guardrails)
    return answer_of(
        CanaryStage,
        test,
        counted_until=test.seen.at,
        canary=_side_out(test.policy, test.canary, found.canary),
        champion=_side_out(test.champion, test.others, found.champion),
        difference_low=found.difference.low,
        difference_high=found.difference.high,
        e_value=replace(found.worse, log_e=found.worse.log_e + test.carried).e_value,
        needed=1.0 / guardrails.alpha,
    )


def _side_out(key: str, counts: GroupCounts, interval: Interval) -> CanarySide:
    policy = PolicyKey.parse(key)
    named = {"policy": policy.name, "version": policy.version}
    return answer_of(CanarySide, counts, low=interval.low, high=interval.high, **named)
