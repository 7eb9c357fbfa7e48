"""Comparing reservations in households with their decisions, beside all that may happen in between."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from decisioning.catalog.catalogue import Catalogue
from decisioning.log.households import store_contacts
from decisioning.log.households.store_contacts import reservation_note
from decisioning.log.households.store_reservations import Reservations
from decisioning.log.ports import DecideReply
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader
from decisioning.model.entities import ContactPolicy
from storage.keys import generated_id
from storage.redis import make_redis
from tests.support import contact_world as world

HOUSEHOLD = "red"
LATER_MS = 60_000
CATALOGUE = Catalogue(
    1,
    groups=world.GROUPS,
    offers={"news": world.offer(6, "news", "service")},
    placements=world.PLACEMENTS,
    contact_policies={"all": ContactPolicy("all", "two a day", 2, 86_400, scope="all", per="household")},
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Home:
    """A household on real functions, which nobody has been offered anything yet."""

    log: RedisLog
    redis: Any
    reservations: Reservations

    async def decide(self, member: str, decision_id: str, at_ms: int, channel: str = "web") -> DecideReply:
        who = replace(world.customer(member), household_id=HOUSEHOLD)
        view = CATALOGUE.view(channel)
        return await world.decide(self.log, view, who, decision_id, ["news"], at_ms, household=HOUSEHOLD)

    async def held(self) -> dict[bytes, float]:
        return dict(await self.redis.zrange(self.log.keys.household(HOUSEHOLD), 0, -1, withscores=True))

    @property
    def notes(self) -> str:
        return self.log.keys.reservations(self.log.keys.bucket(HOUSEHOLD))

    def note(self, member: str, decision_id: str) -> str:
        return reservation_note(self.log.keys.bucket(member), decision_id, HOUSEHOLD)

    def generated(self, member: str) -> str:
        return generated_id(self.log.keys.bucket(member), b"\7" * 16)


@pytest_asyncio.fixture
async def home(redis_url: str) -> AsyncIterator[Home]:
    redis: Any = make_redis(redis_url)
    await redis.flushdb()
    async with world.redis_log(redis_url, buckets=8) as log:
        yield Home(log, redis, Reservations(redis, log.keys))
    await redis.aclose()


async def test_a_contact_that_counts_again_while_it_is_compared_stays(home: Home) -> None:
    log, decided_ms = home.log, now_ms() - 30_000
    assert (await home.decide("ann", "call", decided_ms, "phone")).written
    decided, bucket = await home.held(), log.keys.bucket("ann")
    released_ms = now_ms()
    await home.redis.zadd(home.notes, {home.note("ann", "call"): released_ms})
    assert await LogReader(home.redis, log.keys).release([(bucket, "call")], released_ms) == 1

    due = await home.reservations._due(released_ms, 10)
    standing = await home.reservations._standing(due)
    assert standing == [[b"here", b""]]  # as long as nobody says that it was presented
    told = (bucket, "call", "news", "presented", None, released_ms, released_ms, 1000)
    assert await world.tell(log, *told) == ("recorded", str(released_ms))
    await home.reservations._settle(due, standing, released_ms)
    assert await home.held() == decided
    await home.reservations.settle_due(released_ms + LATER_MS, 10)
    assert await home.held() == decided
    assert await home.redis.zcard(home.notes) == 0


async def test_nothing_is_taken_away_while_decisions_are_still_to_be_put_back(home: Home) -> None:
    decided_ms, whole = now_ms() - LATER_MS, home.log.keys.whole(home.log.keys.bucket("ann"))
    assert (await home.decide("ann", "lost", decided_ms)).written
    held, mark = await home.held(), await home.redis.get(whole)
    await home.redis.zadd(home.notes, {home.note("ann", "lost"): decided_ms})
    await home.redis.delete(home.log.keys.decision(home.log.keys.bucket("ann"), "lost"), whole)
    await home.reservations.settle_due(now_ms(), 10)
    assert await home.held() == held != {}
    await home.redis.set(whole, mark)
    await home.reservations.settle_due(now_ms(), 10)
    assert await home.held() == {}


async def test_a_contact_has_the_time_of_the_attempt_that_was_written(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_ms = now_ms()
    with monkeypatch.context() as patched:
        patched.setattr(store_contacts, "HOLD_MS", -LATER_MS)
        assert (await home.decide("ann", "own", at_ms - 50_000)).lapsed
    assert list((await home.held()).values()) == [at_ms - 50_000]
    assert (await home.decide("ann", "own", at_ms)).written
    assert list((await home.held()).values()) == [at_ms]


@pytest.mark.parametrize("is_written", [True, False])
async def test_what_may_still_be_written_is_not_looked_at_before_its_time(
    home: Home, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    decision_id, at_ms = home.generated("ann"), now_ms()

    async def delayed(*arguments: Any) -> DecideReply:
        return DecideReply(True)

    with monkeypatch.context() as patched:
        if not is_written:
            patched.setattr(home.log, "_write", delayed)
        await home.decide("ann", decision_id, at_ms)
    note = home.note("ann", decision_id)
    before_ms = await home.redis.zscore(home.notes, note)
    await home.log.withdraw("ann", decision_id, at_ms, at_ms + 1, household_id=HOUSEHOLD)
    due_ms = await home.redis.zscore(home.notes, note)
    assert due_ms == (at_ms + 1 if is_written else before_ms)


async def test_more_may_be_due_behind_a_full_page_that_is_done_with(home: Home) -> None:
    at_ms = now_ms()
    for member in ("ann", "bob"):
        assert (await home.decide(member, f"call-{member}", at_ms, "phone")).written
    due = {home.note(member, f"call-{member}"): at_ms for member in ("ann", "bob")}
    # Both are to be looked at again when nobody has confirmed them in time.
    assert await home.reservations.settle_due(at_ms + LATER_MS, 2) is False, (
        "they stay due until they are released"
    )
    await home.redis.zadd(home.notes, due)
    assert await home.reservations.settle_due(at_ms, 3) is False
    await home.redis.zadd(home.notes, due)
    assert await home.reservations.settle_due(at_ms, 2) is True
    assert await home.reservations.settle_due(at_ms, 2) is False, "nothing is due any more"
