"""Policies: what their arms have learned."""

import numpy as np
from fastapi import APIRouter

from app.api.deps import Reader, State, problems
from app.api.schemas import Id
from app.api.schemas_reports import ArmOut, ArmsOut
from app.state import clock_ms
from bandits.intervals import wilson
from decisioning.errors import NotFound, RedisUnavailable

router = APIRouter(prefix="/v1/policies", tags=["policies"])


@router.get("/{name}/arms", responses=problems(404))
async def read_arms(name: Id, state: State, key: Reader) -> ArmsOut:
    """What a policy has learned of each offer: decayed observations, acceptances, mean and 95 % interval."""
    policy_key = f"{name}@1"
    policy = state.roster.get(policy_key)
    if policy is None:
        raise NotFound("policy", name)
    table = state.replica.table(policy_key)
    if policy.width and table is None:
        raise RedisUnavailable("the arms have not been loaded yet")
    arms = []
    if table is not None:
        names = {number: offer_id for offer_id, number in state.current_catalogue().numbers.items()}
        offers = np.array(table.offers(), dtype=np.uint32)
        sums = table.read(policy, offers, policy.decay.tick(clock_ms() / 1000))
        for number, (n, s, *_) in zip(offers.tolist(), sums.own.tolist(), strict=True):
            rate, low, high = wilson(s, n)
            arms.append(
                ArmOut(
                    offer_id=names.get(number, str(number)),
                    observations=n,
                    successes=s,
                    mean=rate,
                    low=low,
                    high=high,
                )
            )
    return ArmsOut(policy=name, version=policy.version, epoch=table.epoch if table else 0, arms=arms)
