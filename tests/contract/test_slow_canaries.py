"""Canaries that take longer than their budget: often asked, seldom asked, and longer than anybody waits."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text

from decisioning.evaluation.replay_service import replay
from tests.support.api import Nextbest
from tests.support.canaries import (
    Crowd,
    add_bad_policy,
    counted,
    dawdles,
    deploy,
    deployed,
    guard_of,
    place,
    trail,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def overruns(nextbest: Nextbest, placement: str) -> list[Any]:
    """Return the decisions that took too long, by the log: their ids, and by how much."""
    query = text(
        "SELECT decision_id, header -> 'over_budget' AS over FROM decisions"
        " WHERE placement = :placement AND header ? 'over_budget' ORDER BY decided_at"
    )
    async with nextbest.api.state.engine.connect() as connection:
        return list(await connection.execute(query, {"placement": placement}))


def rest(nextbest: Nextbest) -> None:
    """Let pauses be over, as they are where the next request comes after a while."""
    for turns in nextbest.api.state.decisions._runner._running.values():
        turns.paused_until_ms = 0


def now_and_then() -> Callable[[], None]:
    """Dawdles every other time."""
    times = count()

    def how() -> None:
        if next(times) % 2:
            dawdles()

    return how


async def test_a_slow_canary_is_rolled_back(shop: Nextbest) -> None:
    await add_bad_policy(shop, "sleepy", dawdles)
    await place(shop.api, "slow")
    await deploy(shop, "slow", "sleepy@1")
    crowd, guard = Crowd(shop, "slow", 12, thompson=0.5, propensity=0.5, sleepy=0.5), guard_of(shop)
    answers = await crowd.come(40)
    slow = [a for a in answers if a["degraded"] == ["policy_slow"]]
    assert len(slow) >= 5
    assert all(a["policy"]["name"] == "propensity" and a["offers"] for a in slow)
    await guard.round()
    assert (await deployed(shop, "slow"))[1]["canary"] is None
    assert "slower than its budget" in (await trail(shop, "slow"))["reason"]


async def test_a_slow_canary_that_is_seldom_asked_is_rolled_back(shop: Nextbest) -> None:
    """No request comes while it is paused: all that tells is how long its decisions took, and they stand."""
    await add_bad_policy(shop, "leisurely", dawdles)
    await place(shop.api, "seldom")
    await deploy(shop, "seldom", "leisurely@1")
    crowd, guard = Crowd(shop, "seldom", 18, thompson=0.5, leisurely=0.5), guard_of(shop)
    answers = []
    for _ in range(30):
        answers += await crowd.come(1)
        rest(shop)
    assert not any(a["degraded"] for a in answers)
    by_canary = [a for a in answers if a["policy"]["name"] == "leisurely"]
    late = await overruns(shop, "seldom")
    assert {row.decision_id for row in late} >= {a["decision_id"] for a in by_canary}
    assert all(row.over["took_ms"] > row.over["budget_ms"] == 200.0 for row in late)
    state = shop.api.state
    assert (await replay(late[0].decision_id, state.archive, state.catalogues, state.roster)).identical
    await guard.round()
    assert (await deployed(shop, "seldom"))[1]["canary"] is None
    test = await counted(shop, "seldom")
    assert (test.cause, test.canary.failures, test.others.slow) == ("slow", 0, 0)
    found = f"slower than its budget in {test.canary.slow} of {len(by_canary)} decisions"
    assert found in (await trail(shop, "seldom"))["reason"]
    assert 5 <= test.canary.slow < len(by_canary)  # the first in each row does not count


async def test_a_canary_that_is_late_now_and_then_stays(shop: Nextbest) -> None:
    """As after a pause of the process, or a change of the catalogue, after which offers are prepared anew."""
    await add_bad_policy(shop, "moody", now_and_then())
    await place(shop.api, "now-and-then")
    version = await deploy(shop, "now-and-then", "moody@1")
    await Crowd(shop, "now-and-then", 19, thompson=0.5, moody=0.5).come(30)
    assert len(await overruns(shop, "now-and-then")) >= 5
    await guard_of(shop).round()
    assert (await counted(shop, "now-and-then")).canary.slow < 5
    assert (await deployed(shop, "now-and-then"))[0] == version


async def test_a_canary_that_takes_longer_than_anybody_waits_is_rolled_back(shop: Nextbest) -> None:
    """Defaults are answered and the decisions are taken back, but they were logged."""
    await add_bad_policy(shop, "asleep", dawdles)
    await place(shop.api, "impatient", deadline_ms=150, default_offers=["silver"])
    await deploy(shop, "impatient", "asleep@1")
    answers = []
    for number in range(30):
        body = {"customer_id": f"i{number}", "placement": "impatient"}
        answers.append(await shop.api.ok("POST", "/v1/decisions", json=body, role="frontend"))
        rest(shop)
    assert sum(a["degraded"] == ["deadline_exceeded"] for a in answers) >= 10
    assert "asleep" not in {a["policy"]["name"] for a in answers}
    await shop.worker.drain()
    await guard_of(shop).round()
    assert (await deployed(shop, "impatient"))[1]["canary"] is None
    test = await counted(shop, "impatient")
    assert test.cause == "slow"
    assert test.canary.observations == 0
