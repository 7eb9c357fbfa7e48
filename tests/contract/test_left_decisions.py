"""Silence is not lost though no worker ran for a day, and streams do not wait for ever for one policy."""

from typing import Any

import pytest

from app.worker.archiver import ArchiverJob
from app.worker.expirer import Expirer
from app.worker.learning.still_learners import StillLearners
from bandits.policy import PolicySpec
from decisioning.log.closing_service import ArchivedClosing
from decisioning.log.store_redis import RedisLog
from storage import clock
from tests.support.api import Nextbest, decide, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def forget(shop: Nextbest, decision: dict[str, Any]) -> None:
    """Let the waiting decision leave Redis with its window long over, as after a day without a worker."""
    state = shop.api.state
    bucket = await state.decision_log.bucket_of(decision["decision_id"])
    assert bucket is not None
    await state.redis.delete(state.keys.decision(bucket, decision["decision_id"]))
    await state.redis.zadd(state.keys.pending(bucket), {decision["decision_id"]: clock.now_ms() - 1})


def expirer(shop: Nextbest) -> Expirer:
    state, reader = shop.api.state, shop.worker._reader
    return Expirer(reader, ArchivedClosing(state.archive, reader, RedisLog(state.pipe, state.keys)), 1.0)


async def outcomes(shop: Nextbest, decision: dict[str, Any]) -> list[tuple[str, str, float | None]]:
    await shop.worker.drain()
    found = await shop.api.state.archive.outcomes(decision["decision_id"])
    return sorted((o.offer_id, o.outcome, o.reward) for o in found if o.outcome != "shown")


async def test_silence_of_a_decision_that_left_redis_is_written_from_the_archive_exactly_once(
    shop: Nextbest,
) -> None:
    silent, answered = [await decide(shop.api, f"left-{n}", "home") for n in range(2)]
    for offer in answered["offers"]:
        await tell(shop.api, answered["decision_id"], offer["offer_id"], "accepted")
    await shop.worker.drain()
    for decision in (silent, answered):
        await forget(shop, decision)

    bucket = await shop.api.state.decision_log.bucket_of(silent["decision_id"])
    assert bucket is not None
    left = [(bucket, silent["decision_id"])]
    # One that ends before the decision is settled is repeated.
    assert [await expirer(shop).closing.close(left, clock.now_ms()) for _ in range(2)] == [1, 0]
    for _ in range(3):
        await expirer(shop).round()
        found = await outcomes(shop, silent)
        assert found == sorted((o["offer_id"], "expired", 0.0) for o in silent["offers"])
    assert {kind for _, kind, _ in await outcomes(shop, answered)} == {"accepted"}
    due = await shop.worker._reader.due(clock.now_ms() + 10**9, 10_000)
    assert {decision_id for _, decision_id in due}.isdisjoint(
        {silent["decision_id"], answered["decision_id"]}
    )


async def test_a_decision_that_is_not_archived_yet_stays_due(shop: Nextbest) -> None:
    decision = await decide(shop.api, "not-archived", "home")
    await forget(shop, decision)

    await expirer(shop).round()

    due = await shop.worker._reader.due(clock.now_ms() + 10**9, 10_000)
    assert decision["decision_id"] in {decision_id for _, decision_id in due}


async def test_the_streams_do_not_wait_for_ever_for_a_policy_that_does_not_learn(shop: Nextbest) -> None:
    state, job = shop.api.state, shop.worker._archive
    await state.policies.register(PolicySpec("stuck", 1, "thompson"), "tests")
    await shop.worker.warm()
    now_s = 0.0
    still = StillLearners(lambda: now_s)
    stuck = ArchiverJob(job.archiver, job.reader, job.arms, job.feed, 0.0, max_still_s=600.0, still=still)

    async def archive_more(customer: str) -> str:
        await decide(shop.api, customer, "home")
        await shop.worker._feed.refresh()
        await stuck.round()
        return (await state.policies.get("stuck@1")).state

    assert await archive_more("stuck-1") == "live"
    now_s = 599.0
    assert await archive_more("stuck-1") == "live"
    now_s = 1200.0
    assert await archive_more("stuck-1") == "failed"
    assert "folded nothing" in ((await state.policies.get("stuck@1")).error or "")
    assert "stuck@1" not in await job.feed.learning()

    await shop.worker.archive()
    await shop.worker.warm()
    await shop.worker.drain()
    assert (await state.policies.get("stuck@1")).state == "live"
    arms = [await job.arms.load(key) for key in ("stuck@1", "thompson@1")]
    assert arms[0] is not None
    assert arms[1] is not None
    assert arms[0].fields == arms[1].fields
