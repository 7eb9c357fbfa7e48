"""Firings while Redis, Postgres or both are away: nothing is lost, and nothing is decided or reserved twice."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from app.embedded.servers import EmbeddedServers
from app.worker.triggers.delivering import FiringDelivery
from decisioning.triggers.store_delivery import LEASE_MS
from storage.errors import RedisUnavailable, Unavailable
from tests.support.api import Nextbest, put_offer
from tests.support.databases import mark_whole
from tests.support.firings import World, to
from tests.support.installation import hardy_servers
from tests.support.outages import postgres_down, redis_down
from tests.support.receiver import WRITTEN_SECRET, Receiver, receiving
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOWN = {"redis": redis_down, "postgres": postgres_down}


@pytest.fixture(scope="module")
def servers() -> Iterator[EmbeddedServers]:
    """Servers of these tests alone, which keep what they acknowledged when they are killed."""
    with hardy_servers() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(shop: Nextbest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The shop, with an offer that may be decided once a day for a customer."""
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "triggers").write_text(WRITTEN_SECRET)
    limits = [{"max": 1, "window_s": 86_400}]
    await put_offer(shop.api, "by-mail", value=30, contact_limits=limits)
    text = {"channel": "mail", "language": "en", "title": "By mail"}
    await shop.api.ok("PUT", "/v1/offers/by-mail/treatments/text", json=text)
    placement = {"channel": "mail", "control_share": 0, "deadline_ms": 5000}
    await shop.api.ok("PUT", "/v1/placements/mail", json=placement)
    found = World(shop, secrets)
    try:
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def away(world: World, servers: EmbeddedServers, *names: str) -> AsyncIterator[None]:
    """Servers are killed, and started again at the end, where a worker finds that Redis has lost nothing."""
    with ExitStack() as stack:
        for name in names:
            await asyncio.to_thread(stack.enter_context, DOWN[name](servers, "gone"))
        try:
            yield
        finally:
            await asyncio.to_thread(stack.close)
            if "redis" in names:
                async with Redis.from_url(servers.urls.redis_url) as redis:
                    await mark_whole(redis, world.nextbest.api.state.keys)


async def try_once(worker: FiringDelivery) -> None:
    """Take up what is due, as a job does: what cannot be reached is tried again."""
    try:
        await worker.round()
    except Unavailable:
        await asyncio.sleep(0.1)
    await worker.settle()


async def deliver(world: World, worker: FiringDelivery, firing_id: str) -> Any:
    """Try until a firing has been delivered; pauses between tries pass at once. Returns it."""

    async def delivered() -> bool:
        await try_once(worker)
        try:
            row = await world.read(firing_id)
        except Unavailable:
            return False
        if row.status in ("due", "decided"):
            world.ahead_ms += 2_000
        return bool(row.status == "delivered")

    await eventually(delivered, f"firing {firing_id} to be delivered")
    return await world.read(firing_id)


async def check_once(world: World, receiver: Receiver, customer: str, firing_id: str, times: int) -> None:
    """One decision was made and kept, and each delivery, of which there were so many, is about it."""
    found: list[dict[str, Any]] = []

    async def archived() -> bool:
        try:
            found[:] = await world.decisions_of(customer)
        except Unavailable:  # connections of before
            return False
        return bool(found)

    await eventually(archived, "the decision to be archived")
    (decision,) = found
    assert [offer["offer_id"] for offer in decision["offers"]] == ["by-mail"]
    assert [headers["webhook-id"] for headers, _ in receiver.requests] == [firing_id] * times
    told = {message["data"]["decision"]["decision_id"] for message in receiver.messages}
    assert told == {decision["decision_id"]} == {(await world.read(firing_id)).decision_id}


async def test_without_redis_a_firing_waits_and_is_decided_once_it_is_back(
    world: World, servers: EmbeddedServers
) -> None:
    async with receiving() as receiver:
        worker = world.worker()
        (firing_id,) = await world.fire(to(receiver), "no-redis")
        async with away(world, servers, "redis"):
            await try_once(worker)
            row = await world.read(firing_id)
            assert (row.status, row.attempts, receiver.requests) == ("due", 1, [])
            assert row.status_reason
        await deliver(world, worker, firing_id)
        await check_once(world, receiver, "no-redis", firing_id, times=1)


async def test_a_decision_whose_answer_was_lost_with_redis_is_the_one_that_is_delivered(
    world: World, servers: EmbeddedServers
) -> None:
    async with receiving() as receiver:
        real = world.nextbest.api.state.decisions
        lost: list[str] = []

        class Lossy:
            async def decide(self, request: Any) -> Any:
                answer = await real.decide(request)
                if not lost:
                    lost.append(answer["decision_id"])
                    async with away(world, servers, "redis"):
                        raise RedisUnavailable("lost")
                return answer

        worker = world.worker(Lossy())
        (firing_id,) = await world.fire(to(receiver), "lost-answer")
        await try_once(worker)
        assert ((await world.read(firing_id)).status, receiver.requests) == ("due", [])
        row = await deliver(world, worker, firing_id)
        assert [row.decision_id] == lost
        await check_once(world, receiver, "lost-answer", firing_id, times=1)


@pytest.mark.parametrize("names", [("postgres",), ("postgres", "redis")], ids="-".join)
async def test_what_was_delivered_while_servers_went_away_is_delivered_again_and_not_decided_again(
    world: World, servers: EmbeddedServers, names: tuple[str, ...]
) -> None:
    customer = f"away-{len(names)}"
    async with receiving() as receiver:
        receiver.hold = asyncio.Event()
        worker = world.worker()
        (firing_id,) = await world.fire(to(receiver), customer)
        await worker.round()

        async def asked() -> bool:
            return len(receiver.requests) == 1

        await eventually(asked, "the receiver to be asked")
        async with away(world, servers, *names):
            receiver.hold.set()
            await worker.settle()
        world.ahead_ms += LEASE_MS
        await deliver(world, worker, firing_id)
        await check_once(world, receiver, customer, firing_id, times=2)


async def test_without_both_nothing_is_taken_up_and_nothing_is_lost(
    world: World, servers: EmbeddedServers
) -> None:
    async with receiving() as receiver:
        worker = world.worker()
        (firing_id,) = await world.fire(to(receiver), "neither")
        async with away(world, servers, "postgres", "redis"):
            with pytest.raises(Unavailable):
                await worker.round()
            assert receiver.requests == []
        row = await deliver(world, worker, firing_id)
        assert row.attempts >= 1
        await check_once(world, receiver, "neither", firing_id, times=1)
