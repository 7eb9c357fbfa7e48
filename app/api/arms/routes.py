"""The arms of policies: what was learned."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.arms.schemas import ArmOut, ArmsOut, ArmsQuery
from app.api.deps import Reader, State, problems
from app.api.schemas import Id, answer_of
from decisioning.learning.arms_service import LATELY_H, Arm

router = APIRouter(prefix="/v1/policies", tags=["policies"])


@router.get("/{name}/arms", responses=problems(404, 409))
async def read_arms(name: Id, state: State, key: Reader, query: Annotated[ArmsQuery, Query()]) -> ArmsOut:
    """Report a policy's arms: what it learned of each offer, how often it selects it, and whether it explores enough.

    `mean` is the observed rate of what it learned from, with observations decayed as the policy decays them;
    `posterior_mean` is what it expects. With `placement`, offers are ranked by expectation times value and lever where
    those do not depend on the request; without, by expectation alone. Offers that are not live are not judged.
    """
    report = await state.arms_reports.report(state.current_catalogue(), name, query.version, query.placement)
    return answer_of(
        ArmsOut,
        report,
        policy=name,
        version=report.policy.version,
        placement=query.placement,
        hours=LATELY_H,
        entropy=report.mind.entropy,
        leader=report.mind.leader,
        settled=report.mind.settled,
        arms=[_arm_out(arm) for arm in report.arms],
    )


def _arm_out(arm: Arm) -> ArmOut:
    rate, low, high = arm.observed
    mean, lowest, highest = arm.believed or (None, None, None)
    believed = {"posterior_mean": mean, "posterior_low": lowest, "posterior_high": highest}
    return answer_of(ArmOut, arm, mean=rate, low=low, high=high, **believed)
