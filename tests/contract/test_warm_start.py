"""Policies that come later are as warm as if they had been there from the start."""

from collections.abc import Mapping
from typing import Any

import pytest

from bandits.policy import PolicySpec
from decisioning.stores.policies import PolicyStore
from decisioning.stores.streams import ArmStore
from tests.contract.support import Nextbest, decide, eventually, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def policies(shop: Nextbest) -> PolicyStore:
    return shop.api.state.policies


async def register(shop: Nextbest, name: str, version: int = 1, **fields: Any) -> str:
    """Register a policy of the algorithm `thompson`; returns its key."""
    spec = PolicySpec(name, version, "thompson", **fields)
    assert await shop.api.state.policies.register(spec, "tests")
    return spec.key


async def arms_of(shop: Nextbest, key: str) -> Mapping[str, bytes]:
    """The arms in Redis."""
    arms = await ArmStore(shop.api.state.redis, shop.api.state.keys).load(key)
    assert arms is not None, f"{key} has no arms"
    return arms.fields


async def traffic(shop: Nextbest, first: int, count: int, placement: str = "home") -> None:
    """Decisions of which some are accepted, some rejected, and some stay without an answer."""
    for number in range(first, first + count):
        decision = await decide(shop.api, f"customer-{number}", placement)
        offer_id = decision["offers"][0]["offer_id"]
        if number % 3:
            outcome = "accepted" if number % 2 else "rejected"
            await tell(shop.api, decision["decision_id"], offer_id, outcome)


async def test_a_warm_start_equals_having_been_there(shop: Nextbest) -> None:
    early = await register(shop, "early")
    await shop.worker.warm()
    await traffic(shop, 0, 30)
    await shop.worker.drain()
    late = await register(shop, "late")
    await traffic(shop, 30, 20)
    await shop.worker.archive()
    await traffic(shop, 50, 10)
    await shop.worker.warm()
    await traffic(shop, 60, 10)
    await shop.worker.expire(ahead_s=8 * 86_400)
    await shop.worker.drain()
    found = await arms_of(shop, late)
    assert found
    assert found == await arms_of(shop, early) == await arms_of(shop, "thompson@1")
    registered = await shop.api.state.policies.get(late)
    assert registered.state == "live"
    assert registered.folded == registered.total > 0


async def test_every_process_follows_a_new_policy(shop: Nextbest) -> None:
    key = await register(shop, "followed")
    await shop.worker.warm()
    async with shop.another() as other:
        for instance in (shop.api, other):
            state = instance.state

            async def followed(state: Any = state) -> bool:
                return key in state.roster and state.replica.epoch(key) is not None

            await eventually(followed)
    assert (await shop.api.call("GET", "/readyz", role=None)).status_code == 200
