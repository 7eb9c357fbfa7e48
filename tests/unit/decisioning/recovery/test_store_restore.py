"""Invariant 1 for contacts: the history in Redis is a fold of the log, and comes back from Postgres as it was."""

import random
import time
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from decisioning.log.feedback_service import SKEW_MS
from decisioning.log.households.store_reservations import Reservations
from decisioning.log.owners import GRACE_MS
from decisioning.log.store_archive import Archiver
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader
from decisioning.model.entities import ContactPolicy
from decisioning.recovery.store_restore import DecisionRestorer
from storage.keys import Keys
from storage.postgres import make_engine
from storage.redis import make_redis
from tests.support import contact_world as world
from tests.support.databases import mark_whole

START_MS = 1_800_000_000_000
HISTORY_MS = 7 * 86_400_000
CUSTOMERS = ("ann", "bob", "cem", "dee")
OUTCOMES = ("presented", "clicked", "accepted", "rejected")
Held = dict[str, set[tuple[bytes, float]]]


async def contacts(redis: "Redis", keys: Keys, now_ms: int) -> Held:
    """The contacts of all customers that still matter."""
    found = {}
    for name in CUSTOMERS:
        held: Any = await redis.zrange(
            keys.contact(name), f"({now_ms - HISTORY_MS}", "+inf", byscore=True, withscores=True
        )
        found[name] = {(member, score) for member, score in held}
    return found


async def waiting(redis: "Redis", keys: Keys) -> dict[bytes, object]:
    """Return all that waits in all buckets: decisions, their deadlines, those to be confirmed."""
    found: dict[bytes, object] = {}
    async for key in redis.scan_iter("nb:*"):
        kind = await redis.type(key)
        if b":decision:" in key:
            found[key] = {k: v for k, v in (await redis.hgetall(key)).items() if k != b"x"}
        elif kind == b"zset" and b":contact:" not in key:
            found[key] = await redis.zrange(key, 0, -1, withscores=True)
    return found


async def live_through(log: RedisLog, reader: LogReader, rng: random.Random) -> int:
    """A few days with decisions, outcomes early and late, withdrawals, releases and expiry; returns the time."""
    views = {channel: world.catalogue().view(channel) for channel in world.CHANNELS}
    now, made = START_MS, []
    for number in range(600):
        now += rng.choice((0, 1000, 9_000, 60_000, 3_600_000))
        who, channel = world.customer(rng.choice(CUSTOMERS)), rng.choice(world.CHANNELS)
        decision = f"d{number}"
        offers = rng.sample(sorted(world.OFFERS), rng.choice((1, 2)))
        reply = await world.decide(log, views[channel], who, decision, offers, now)
        if reply.written:
            made.append((who.customer_id, decision, offers, now))
        if made and rng.random() < 0.5:
            name, decision, offers, _ = rng.choice(made[-5:])
            ago = rng.choice((0, 2000))
            bucket = log.keys.bucket(name)
            await world.tell(
                log, bucket, decision, rng.choice(offers), rng.choice(OUTCOMES), None, now - ago, now, SKEW_MS
            )
        if made and rng.random() < 0.1:
            name, decision, _, at_ms = made.pop()
            await log.withdraw(name, decision, at_ms, now)
        if rng.random() < 0.6:
            await reader.release(await reader.unconfirmed(now, 100), now)
        if rng.random() < 0.1:
            await reader.expire(await reader.due(now, 100), now, GRACE_MS)
    return now


async def test_the_contact_history_comes_back_from_postgres(postgres_url: str, redis_url: str) -> None:
    redis = make_redis(redis_url)
    await redis.flushdb()
    engine = make_engine(postgres_url)
    archiver = Archiver(postgres_url)
    try:
        async with world.redis_log(redis_url) as log:
            reader = LogReader(redis, log.keys)
            now = await live_through(log, reader, random.Random(1))
            await _archive(archiver, reader)
            held, open_before = await contacts(redis, log.keys, now), await waiting(redis, log.keys)
            assert sum(len(found) for found in held.values()) > 150
            kinds = {member.split(b":")[3] for found in held.values() for member, _ in found}
            assert kinds >= set(b"d p c a r P C A R".split())

            restorer = DecisionRestorer(engine, redis, log.keys)
            assert await restorer.restore(now, HISTORY_MS) == 0  # nothing was missing, and nothing is changed
            assert await contacts(redis, log.keys, now) == held

            await redis.flushdb()
            await restorer.restore(now, HISTORY_MS)
            assert await contacts(redis, log.keys, now) == held
            again = await waiting(redis, log.keys)
            closed = {k for k, v in open_before.items() if isinstance(v, dict) and b"s" in v}
            # Decisions of which everything had been answered may be open again: nothing of them can be counted twice.
            waited = {k: v for k, v in open_before.items() if b":decision:" in k and k not in closed}
            assert {k: v for k, v in again.items() if b":decision:" in k and k not in closed} == waited
            # Whoever waits to be confirmed still does; those that were answered entirely may be looked at once more.
            for key, scores in open_before.items():
                if key.endswith(b":unconfirmed"):
                    assert set(scores) <= set(again[key])  # type: ignore[call-overload]  # a list of pairs
    finally:
        await archiver.close()
        await engine.dispose()
        await redis.aclose()


async def test_contacts_of_a_household_stay_that_were_decided_long_ago(
    postgres_url: str, redis_url: str
) -> None:
    policy = ContactPolicy("all", "one a month", 1, 30 * 86_400, scope="all", per="household")
    view = world.catalogue(policies={"all": policy}).view("web")
    now = time.time_ns() // 1_000_000 - 10_000  # so that nothing is too early to be compared
    redis: Any = make_redis(redis_url)
    await redis.flushdb()
    engine, archiver = make_engine(postgres_url), Archiver(postgres_url)
    try:
        async with world.redis_log(redis_url) as log:
            # Its window ended long ago, and nothing has closed it.
            who = replace(world.customer(), household_id="red")
            long_ago = now - view.placement.reward_window_s * 1000 - GRACE_MS - 1000
            assert (await world.decide(log, view, who, "own", ["news"], long_ago, household="red")).written
            held = await redis.zrange(log.keys.household("red"), 0, -1, withscores=True)
            await _archive(archiver, LogReader(redis, log.keys))
            await redis.flushdb()
            await DecisionRestorer(engine, redis, log.keys).restore(now, 2 * HISTORY_MS)
            assert await redis.zrange(log.keys.household("red"), 0, -1, withscores=True) == held != []
            await mark_whole(redis, log.keys)
            await Reservations(redis, log.keys).settle_due(now + 3_600_000, 10)
            assert await redis.zrange(log.keys.household("red"), 0, -1, withscores=True) == held
    finally:
        await archiver.close()
        await engine.dispose()
        await redis.aclose()


async def _archive(archiver: Archiver, reader: LogReader) -> None:
    while True:
        async with archiver.turn() as positions:
            assert positions is not None
            batch = await reader.read(positions, count=1000, block_ms=None, decisions=True)
            if not batch.last:
                return
            await archiver.write(batch)
