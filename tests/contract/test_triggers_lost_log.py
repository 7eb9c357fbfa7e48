"""Redis loses everything under triggers: what they had followed goes on, and what they had not is not made up for."""

from typing import Any

import pytest

from tests.support.api import Nextbest
from tests.support.triggers import Triggers

pytestmark = pytest.mark.asyncio(loop_scope="module")

HALF_HOUR_S = 1800


async def test_what_was_archived_and_not_followed_fires_nothing_but_counts_in_all_else(
    shop: Nextbest,
) -> None:
    api = shop.api
    for name in ("basket", "order", "login"):
        await api.ok("PUT", f"/v1/event-types/{name}", json={"name": name})
    logins = {"event": "login", "function": "count", "window": "24h"}
    await api.ok("PUT", "/v1/aggregates/logins", json=logins)
    triggers = Triggers(shop)
    await triggers.declare("login", {"event": "login"})
    await triggers.declare("second", {"event": "login"}, when="events.logins == 2")
    await triggers.declare("basket", {"event": "basket", "unless": ["order"], "after_s": HALF_HOUR_S})
    for customer in ("kept", "ordered"):
        await triggers.tell("basket", customer, f"{customer}-1")
    assert await triggers.follow() == 0
    # Nobody follows any more, while a worker archives.
    await triggers.tell("login", "missed", "missed-1")
    await triggers.tell("basket", "missed", "missed-2")
    await triggers.tell("order", "ordered", "ordered-2")
    await shop.worker.archive()
    redis: Any = api.state.redis
    await redis.flushall()
    await shop.worker.start()  # puts back what is archived
    triggers.job = triggers.make()
    assert await triggers.follow() == 0
    # What comes from then on is followed, and knows what was archived.
    await triggers.tell("login", "missed", "missed-3")
    assert await triggers.follow() == 2
    for name in ("login", "second"):
        assert await triggers.fired(name) == [("missed", "event missed-3")]
    triggers.ahead_ms = (HALF_HOUR_S + 60) * 1000
    assert await triggers.follow() == 1
    assert await triggers.fired("basket") == [("kept", "event kept-1")]
