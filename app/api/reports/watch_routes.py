"""Reports on what is watched: drift, and canaries beside their champions."""

import math
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Reader, State, problems
from app.api.reports.watch_schemas import (
    CanaryQuery,
    CanaryReport,
    CanarySide,
    CanaryStage,
    DriftDetection,
    DriftQuery,
    DriftReport,
    DriftWindow,
)
from bandits.intervals import wilson
from bandits.monitoring.sequential_test import Interval
from bandits.policy import PolicyKey
from decisioning.model.deployment import Deployment, Guardrails
from decisioning.rollout.guardrail import Tally, comparison
from decisioning.rollout.store_canary import CanaryStore, CanaryTest
from decisioning.rollout.store_drift import DriftStore

router = APIRouter(prefix="/v1/reports", tags=["reports"])

LARGEST_LOG = 700.0


@router.get("/drift", responses=problems())
async def read_drift(state: State, key: Reader, query: Annotated[DriftQuery, Query()]) -> DriftReport:
    """Acceptance of offers as it is now, and when it changed.

    Watched with ADWIN in the order of decisions. What is not accepted within `NEXTBEST_DRIFT_HORIZON_S` counts as not
    accepted, so a rate here is lower than in the acceptance report where answers take longer.
    """
    store = DriftStore(state.engine)
    windows = []
    for row in await store.windows(query.placement, query.offer):
        rate, low, high = wilson(row.acceptances, row.observations)
        windows.append(
            DriftWindow(
                **{"placement": row.placement, "offer_id": row.offer_id, "observations": row.observations},
                **{"rate": rate, "low": low, "high": high, "since": row.since, "until": row.until},
            )
        )
    found = await store.detections(query.placement, query.offer, query.limit)
    fields = DriftDetection.model_fields
    detections = [DriftDetection(**{name: getattr(row, name) for name in fields}) for row in found]
    return DriftReport(windows=windows, detections=detections)


@router.get("/canaries", responses=problems())
async def read_canaries(state: State, key: Reader, query: Annotated[CanaryQuery, Query()]) -> CanaryReport:
    """Canaries and their champions, as guardrails see them: stage by stage, the newest first.

    A customer counts once in a stage, by the first decision; intervals hold at all times together.
    """
    deployments = state.current_catalogue().deployments
    tests = await CanaryStore(state.engine).tests(query.placement, query.limit)
    return CanaryReport(stages=[_stage(test, deployments.get(test.placement)) for test in tests])


def _stage(test: CanaryTest, deployment: Deployment | None) -> CanaryStage:
    guardrails = Guardrails() if deployment is None else deployment.guardrails
    found = comparison(test.canary, test.others, guardrails)
    return CanaryStage(
        placement=test.placement,
        share=test.share,
        started_at=test.started_at,
        looked_at=test.looked_at,
        ended_at=test.ended_at,
        cause=test.cause,
        reason=test.reason,
        canary=_side(test.policy, test.canary, found.canary),
        champion=_side(test.champion, test.others, found.champion),
        difference_low=found.difference.low,
        difference_high=found.difference.high,
        e_value=math.exp(min(found.worse.log_e + test.carried, LARGEST_LOG)),
        needed=1.0 / guardrails.alpha,
    )


def _side(policy: str, tally: Tally, interval: Interval) -> CanarySide:
    key = PolicyKey(policy)
    return CanarySide(
        policy=key.name,
        version=key.version,
        observations=tally.observations,
        acceptances=tally.acceptances,
        rate=tally.rate,
        low=interval.low,
        high=interval.high,
        decisions=tally.decisions,
        failures=tally.failures,
        slow=tally.slow,
    )
