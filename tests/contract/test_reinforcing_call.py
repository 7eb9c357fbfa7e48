"""The reinforcing call: who was presented a coupon and did not answer within days is decided a call, and nobody else.

The trigger on the contact hears what is told, so the coupon's placement has to have explicit presentation.
"""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from storage.clock import DAY_MS
from tests.support.api import Nextbest, decide, put_offer, tell
from tests.support.firings import World
from tests.support.triggers import Triggers

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAYS = 5
REINFORCE: dict[str, Any] = {
    "outcome": "presented",
    "offer": "coupon",
    "unless": ["clicked", "accepted", "rejected"],
    "after_s": DAYS * 86_400,
}
CALLS = "calls"


class Campaign:
    """Coupons by mail, and the calls that follow those which nobody answered."""

    def __init__(self, world: World, triggers: Triggers) -> None:
        self.api = world.nextbest.api
        self.world = world
        self.triggers = triggers

    async def send(self, customer: str, placement: str = "mail") -> str:
        """Decide a coupon for a customer; returns the id of the decision."""
        answer = await decide(self.api, customer, placement)
        assert [offer["offer_id"] for offer in answer["offers"]] == ["coupon"]
        return str(answer["decision_id"])

    async def present(self, customer: str) -> str:
        """Send a coupon, and tell that it went out."""
        decision_id = await self.send(customer)
        assert await tell(self.api, decision_id, "coupon", "presented") == "recorded"
        return decision_id

    async def after(self, days: float) -> int:
        """Let the time be so many days from now; returns how many triggers fired."""
        self.triggers.ahead_ms = self.world.ahead_ms = int(days * DAY_MS)
        return await self.triggers.follow()

    async def deliver(self) -> list[dict[str, Any]]:
        """Let a worker decide and deliver what has fired; returns the messages of all calls so far."""
        self.world.triggers |= self.triggers.job._plan.triggers
        await self.world.work(self.world.worker())
        redis: Any = self.api.state.redis
        return [json.loads(entry[b"body"])["data"] for _, entry in await redis.xrange(CALLS)]

    async def fired(self, customers: Sequence[str]) -> list[str]:
        """Those of these customers for whom a call has been decided on, as often as that."""
        return [one for one, _ in await self.triggers.fired("reinforce") if one in customers]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def campaign(shop: Nextbest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Campaign]:
    api = shop.api
    for offer, channel in (("coupon", "mail"), ("follow-up", "agent")):
        await put_offer(api, offer, value=30)
        treatment = {"channel": channel, "language": "en", "title": offer}
        await api.ok("PUT", f"/v1/offers/{offer}/treatments/text", json=treatment)
    placement = {"control_share": 0, "deadline_ms": 5000}
    explicit = placement | {"presentation": "explicit"}
    await api.ok("PUT", "/v1/placements/mail", json=explicit | {"channel": "mail"})
    await api.ok("PUT", "/v1/placements/call", json=explicit | {"channel": "agent"})
    await api.ok("PUT", "/v1/placements/implicit", json=placement | {"channel": "mail"})
    world, triggers = World(shop, tmp_path_factory.mktemp("secrets")), Triggers(shop)
    await triggers.declare("reinforce", REINFORCE, placement="call", deliver={"stream": CALLS})
    try:
        yield Campaign(world, triggers)
    finally:
        await world.close()


async def test_who_does_not_answer_is_called_and_who_answers_is_not(campaign: Campaign) -> None:
    answers = {"accepts": "accepted", "declines": "rejected", "looks": "clicked", "silent": None}
    decisions = {customer: await campaign.present(customer) for customer in answers}
    assert await campaign.after(0) == 0
    for customer, outcome in answers.items():
        if outcome is not None:
            assert await tell(campaign.api, decisions[customer], "coupon", outcome) == "recorded"
    assert await campaign.after(DAYS - 0.01) == 0, "there is time to answer"
    assert await campaign.after(DAYS) == 1
    assert await campaign.fired([*answers]) == ["silent"]
    (call,) = await campaign.deliver()
    assert (call["customer_id"], call["trigger"], call["channel"]) == ("silent", "reinforce", "agent")
    assert [offer["offer_id"] for offer in call["decision"]["offers"]] == ["follow-up"]
    assert (call["cause"]["outcome"], call["cause"]["decision_id"]) == ("presented", decisions["silent"])


async def test_one_contact_is_followed_by_one_call(campaign: Campaign) -> None:
    decision_id = await campaign.present("once")
    await campaign.after(0)
    assert await tell(campaign.api, decision_id, "coupon", "presented") == "duplicate"
    assert await campaign.after(DAYS) == 1
    await campaign.deliver()
    # An answer that comes after the call takes nothing back, and what is told again begins nothing.
    assert await tell(campaign.api, decision_id, "coupon", "accepted") == "recorded"
    assert await tell(campaign.api, decision_id, "coupon", "presented") == "duplicate"
    assert await campaign.after(3 * DAYS) == 0
    assert await campaign.fired(["once"]) == ["once"]
    calls = [call for call in await campaign.deliver() if call["customer_id"] == "once"]
    assert len(calls) == 1


async def test_each_coupon_waits_for_its_own_answer(campaign: Campaign) -> None:
    answered, silent = await campaign.present("two"), await campaign.present("two")
    await campaign.after(0)
    assert await tell(campaign.api, answered, "coupon", "accepted") == "recorded"
    assert await campaign.after(DAYS) == 1
    rows = [row for row in await campaign.triggers.rows("reinforce") if row.customer_id == "two"]
    assert [row.occasion for row in rows] == [f"outcome {silent}/coupon/presented"]


@pytest.mark.parametrize("placement", ["mail", "implicit"])
async def test_a_coupon_of_which_nobody_says_that_it_went_out_is_followed_by_no_call(
    campaign: Campaign, placement: str
) -> None:
    """Also where the presentation is implicit: nothing is told there, so there is nothing to follow."""
    await campaign.send(f"untold-{placement}", placement)
    await campaign.after(0)
    assert await campaign.after(DAYS) == 0
    assert await campaign.fired([f"untold-{placement}"]) == []
