"""The arms of policies: what was learned, and what was selected over time."""

from datetime import date, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query

from app.api.arms.schemas import (
    ArmOut,
    ArmsOut,
    ArmsQuery,
    SelectedOfferOut,
    SelectionsAtOut,
    SelectionsOut,
    SelectionsQuery,
)
from app.api.deps import Reader, State, problems
from app.api.schemas import Id, answer_of
from app.state import ApiState
from bandits.policy import PolicyKey
from decisioning.errors import Invalid, NotFound
from decisioning.learning.arms_service import LATELY_H, Arm, version_shown
from decisioning.reporting.offer_report import ReportScope
from decisioning.reporting.over_time.store_policy_selections import (
    SelectionsOverTime,
    TimeSelections,
    selections_over_time,
)
from storage import clock
from storage.clock import to_datetime

MAX_DAYS_BY_HOUR = 31
_DAYS = {"day": 28, "hour": 2}
"""So many days are reported on if nothing else is asked for."""

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


@router.get("/{name}/selections", responses=problems(404))
async def read_selections(
    name: Id, state: State, key: Reader, query: Annotated[SelectionsQuery, Query()]
) -> SelectionsOut:
    """Report what a policy selected over time: by day or hour, the offers that it selects most, and the rest.

    Counted are offers in answers, as the acceptance report counts `decided`.
    """
    policy = await _policy_of(state, name, query.version)
    first, last = _days_of(query)
    scope = ReportScope.of_days(query.time_zone, first, last)
    assert scope.since is not None
    assert scope.until is not None
    found = await selections_over_time(
        state.engine,
        policy,
        since=scope.since,
        until=scope.until,
        per=query.per,
        zone=query.time_zone,
        top=query.top,
        placement=query.placement,
    )
    offers = state.current_catalogue().offers
    total = sum(found.totals.values()) + found.rest
    top = [
        SelectedOfferOut(
            offer_id=offer_id,
            name=offers[offer_id].name if offer_id in offers else None,
            selected=selected,
            share=selected / total,
        )
        for offer_id, selected in found.totals.items()
    ]
    return answer_of(
        SelectionsOut,
        query,
        policy=policy.name,
        version=policy.version,
        since=scope.since,
        until=scope.until,
        total=total,
        offers=found.offers,
        top=top,
        rest=found.rest,
        times=[_time_out(found, time) for time in found.times],
    )


async def _policy_of(state: ApiState, name: str, version: int | None) -> PolicyKey:
    """Find the policy that is meant, also one that is retired or cannot be used here. Raises ``NotFound``."""
    known = {*state.roster, *state.roster.broken}
    if version is None:
        catalogue = state.current_catalogue()
        version = version_shown(name, known, catalogue.placements, catalogue.deployments)
        if version is None:
            raise NotFound("policy", name)
    key = PolicyKey.of(name, version)
    if key not in known:
        await state.policies.get(key)
    return key


def _days_of(query: SelectionsQuery) -> tuple[date, date]:
    """Return the first day, and the first that is left out. Raises ``Invalid`` where that is too long by hour."""
    last = query.until
    if last is None:
        last = _today(query.time_zone) + timedelta(days=1)
        if query.since is not None:
            last = max(last, query.since + timedelta(days=1))
    first = last - timedelta(days=_DAYS[query.per]) if query.since is None else query.since
    if query.per == "hour" and (last - first).days > MAX_DAYS_BY_HOUR:
        raise Invalid(
            "since", f"by hour, a report spans {MAX_DAYS_BY_HOUR} days at most: name a later day, or per=day"
        )
    return first, last


def _today(zone: str) -> date:
    return to_datetime(clock.now_ms()).astimezone(ZoneInfo(zone)).date()


def _time_out(found: SelectionsOverTime, time: TimeSelections) -> SelectionsAtOut:
    return SelectionsAtOut(
        at=time.at,
        total=sum(time.selected.values()),
        selected=[time.selected.get(offer_id, 0) for offer_id in found.totals],
        rest=time.selected.get(None, 0),
    )


def _arm_out(arm: Arm) -> ArmOut:
    rate, low, high = arm.observed
    mean, lowest, highest = arm.believed or (None, None, None)
    believed = {"posterior_mean": mean, "posterior_low": lowest, "posterior_high": highest}
    return answer_of(ArmOut, arm, mean=rate, low=low, high=high, **believed)
