"""Policies: what their arms have learned."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Reader, State, problems
from app.api.reports.schemas import ArmOut, ArmsOut, ArmsQuery
from app.api.schemas import Id
from app.state import ApiState, clock_ms
from bandits.policy import Policy, PolicyKey, PolicySpec
from bandits.sequential_policy import Table, learns
from bandits.state import ArmTable
from decisioning.catalog.placement_view import PlacementView
from decisioning.errors import Conflict, NotFound
from decisioning.learning.arms_report import Arm, Mind, arms_of, mind_of, version_shown
from decisioning.learning.store_arms import ArmStore
from decisioning.learning.store_selections import selections
from decisioning.model.entities import effective_status
from decisioning.rollout.store_results import moment
from storage.errors import PostgresUnavailable, RedisUnavailable

router = APIRouter(prefix="/v1/policies", tags=["policies"])

LATELY_H = 24


@router.get("/{name}/arms", responses=problems(404, 409))
async def read_arms(name: Id, state: State, key: Reader, query: Annotated[ArmsQuery, Query()]) -> ArmsOut:
    """What a policy has learned of each offer, how often it selects it, and whether it explores enough.

    `mean` is the observed rate of what it learned from, with observations decayed as the policy decays them;
    `posterior_mean` is what it expects. With `placement`, offers are ranked by expectation times value and lever where
    those do not depend on the request; without, by expectation alone. Offers that are not live are not judged.
    """
    policy_key, policy = _find(state, name, query.version)
    spec = state.roster.spec(policy_key)
    catalogue, now_ms = state.current_catalogue(), clock_ms()
    view = None if query.placement is None else catalogue.view(query.placement)
    table = await _table(state, policy_key, policy)
    since = moment(now_ms) - timedelta(hours=LATELY_H)
    try:
        selected = await selections(state.engine, policy_key, since, query.placement)
        unknown = None
    except PostgresUnavailable:
        selected, unknown = {}, "what was selected lately cannot be read now"
    names = {number: offer_id for offer_id, number in catalogue.numbers.items()}
    if view is None:
        learned = [names[n] for n in (table.offers() if table else ()) if n in names]
    else:
        learned = [offer.offer_id for offer in view.offers]
    tick = policy.decay.tick(now_ms / 1000)
    arms = arms_of(policy, table, tick, catalogue.numbers, {*learned, *selected}, selected)
    live = {o for o, offer in catalogue.offers.items() if effective_status(offer, now_ms) == "live"}
    judged = [arm for arm in arms if arm.offer_id in live]
    mind = mind_of(judged, {} if view is None else _weights(view, spec))
    return ArmsOut(
        policy=name,
        version=policy.version,
        algorithm=spec.algorithm,
        placement=query.placement,
        epoch=table.epoch if table else 0,
        learned=bool(arms) and all(arm.believed is not None for arm in arms),
        hours=LATELY_H,
        entropy=mind.entropy,
        warning=unknown or _warning(mind),
        leader=mind.leader,
        settled=mind.settled,
        arms=[_arm(arm) for arm in arms],
    )


def _find(state: ApiState, name: str, version: int | None) -> tuple[str, Policy]:
    catalogue, roster = state.current_catalogue(), state.roster
    if version is None:
        known = (*roster, *roster.broken)
        version = version_shown(name, known, catalogue.placements, catalogue.deployments)
        if version is None:
            raise NotFound("policy", name)
    key = PolicyKey.of(name, version)
    if key in roster.broken and key not in roster:
        raise Conflict(f"the policy {key} cannot be used here: {roster.broken[key]}")
    policy = roster.get(key)
    if policy is None:
        raise NotFound("policy", key)
    return key, policy


async def _table(state: ApiState, key: str, policy: Policy) -> Table | None:
    """The arms in memory; those of a policy that learns no more are read as they were left."""
    if not learns(policy):
        return None
    table = state.replica.table(key)
    if table is not None:
        return table
    if key in state.roster.learning():
        raise RedisUnavailable("the arms have not been loaded yet")
    stored = await ArmStore(state.redis, state.keys).load(key) if policy.width else None
    if stored is None:
        return None
    table = ArmTable(policy.width, stored.epoch)
    table.put_all(stored.fields.items())
    return table


def _weights(view: PlacementView, spec: PolicySpec) -> dict[str, float]:
    """What multiplies the expectations of offers in their scores, where it does not depend on the request."""
    fixed = view.fixed
    weight = fixed.C * fixed.L if spec.learn_from == "value" or view.values else fixed.product
    return {offer.offer_id: float(w) for offer, w in zip(view.offers, weight, strict=True)}


def _warning(mind: Mind) -> str | None:
    if not mind.neglected:
        return None
    return (
        f"exploration has died too early: {', '.join(mind.neglected)} may be as good as what is selected most,"
        " and hardly selected any more"
    )


def _arm(arm: Arm) -> ArmOut:
    rate, low, high = arm.observed
    mean, lowest, highest = arm.believed or (None, None, None)
    return ArmOut(
        offer_id=arm.offer_id,
        observations=arm.observations,
        successes=arm.successes,
        mean=rate,
        low=low,
        high=high,
        posterior_mean=mean,
        posterior_low=lowest,
        posterior_high=highest,
        selected=arm.selected,
        share=arm.share,
    )
