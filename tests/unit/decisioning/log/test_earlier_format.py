"""Data that the version before this one left in Redis, streams and Postgres goes on as if this one had written it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from redis.asyncio import Redis

from decisioning.log.codec import answer_of, encode_decision, parse_entry
from decisioning.log.lookup_service import record_of
from decisioning.log.owners import GRACE_MS
from decisioning.log.store_archive import Archiver, ArchiveReader
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import Batch, LogReader
from decisioning.model.decision import Contact, LoggedDecision, OfferContact
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.recovery.store_restore import DecisionRestorer
from storage.functions import function_name
from storage.postgres import make_engine
from storage.redis import make_redis
from tests.support import contact_world as world
from tests.support import earlier_log as earlier
from tests.support.earlier_log import KEYS, NOW_MS, UNTIL_MS

AT = StreamPosition("1-0")
WEEK_MS = 604_800_000
Step = Callable[[RedisLog, LogReader], Awaitable[Any]]


def told(offer: str, outcome: str, after_ms: int, value: float | None = None) -> Step:
    """Feedback."""
    at_ms = NOW_MS + after_ms
    return lambda log, _: world.tell(log, 0, "d1", offer, outcome, value, at_ms, at_ms, 300_000)


async def released(log: RedisLog, reader: LogReader) -> int:
    return await reader.release(await reader.unconfirmed(NOW_MS + 9_000, 10), NOW_MS + 9_000)


async def expired(log: RedisLog, reader: LogReader) -> int:
    return await reader.expire(await reader.due(UNTIL_MS + 1, 10), UNTIL_MS + 1, GRACE_MS)


async def made_small(log: RedisLog, reader: LogReader) -> None:
    await earlier.make_small(reader.redis)


async def withdrawn(log: RedisLog, reader: LogReader) -> None:
    await log.withdraw("ann", "d1", NOW_MS, NOW_MS + 1)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator["Redis"]:
    client = make_redis(redis_url)
    yield client
    await client.aclose()


async def lived(
    redis: Any, log: RedisLog, steps: list[Step], is_earlier: bool, **more: bytes
) -> tuple[Any, ...]:
    """Return what steps answer, log and leave behind, of a decision that an earlier version or this one wrote."""
    await earlier.put_waiting(redis, is_earlier=is_earlier, **more)
    reader = LogReader(redis, KEYS)
    said = [await step(log, reader) for step in steps]
    batch = await reader.read({}, count=100, block_ms=None, decisions=True)
    stored = await redis.hgetall(KEYS.decision(0, "d1"))
    return (
        said,
        [structs.replace(outcome, position=AT) for outcome in batch.outcomes],
        await redis.zrange(KEYS.contact("ann"), 0, -1, withscores=True),
        {earlier.RENAMED.get(name, name): value for name, value in stored.items()},
        await redis.exists(KEYS.pending(0), KEYS.unconfirmed(0)),
    )


@pytest.mark.parametrize(
    ("steps", "more", "kinds"),
    [
        (
            [told("gold", "accepted", 1, 12.5), told("gold", "rejected", 2), told("gold", "accepted", 3)],
            {},
            "ad",
        ),
        ([told("bill", "clicked", 1), released, expired], {}, "C"),
        ([released, told("gold", "presented", 9_500), expired], {}, "dp"),
        (
            [told("gold", "rejected", 9_500), told("bill", "accepted", 200_000)],
            {"x:gold": b"1800000009000"},
            "Adr",
        ),
        ([expired, told("gold", "accepted", 150_000)], {}, "ad"),
        ([told("gold", "presented", 1), withdrawn, told("gold", "accepted", 3)], {}, ""),
        ([told("absent", "presented", 1), told("gold", "presented", -400_000)], {}, "d"),
    ],
)
async def test_a_waiting_decision_goes_on(
    redis: Any, redis_url: str, steps: list[Step], more: dict[str, bytes], kinds: str
) -> None:
    async with world.redis_log(redis_url, 1) as log:
        log = RedisLog(log.pipe, KEYS)
        then = await lived(redis, log, steps, True, **more)
        now = await lived(redis, log, steps, False, **more)
        small = await lived(redis, log, [made_small, *steps], False, **more)
    assert then == now
    forms = earlier.READABLE_BY_EARLIER | earlier.EXPECTED.keys()
    fields = [{k: v for k, v in found[3].items() if k not in forms} for found in (now, small)]
    assert fields[0] == fields[1]
    assert (small[0][1:], *small[1:3], small[4]) == (*now[:3], now[4])
    assert "".join(sorted(name.decode().split(":")[3] for name, _ in then[2])) == kinds
    for outcome in then[1]:
        assert (outcome.policy, outcome.placement) == ("thompson@1", "phone")


@pytest.mark.parametrize("is_earlier", [True, False])
async def test_silence_closes_it_with_its_facts(redis: Any, redis_url: str, is_earlier: bool) -> None:
    async with world.redis_log(redis_url, 1) as log:
        steps = [told("bill", "clicked", 1000), released, told("gold", "accepted", 10_000, 12.5), expired]
        _, outcomes, contacts, _, _ = await lived(redis, log, steps, is_earlier)
    clicked, given_back, accepted, silence, closed = outcomes
    assert clicked == structs.replace(parsed(earlier.CLICKED)[0], position=AT)
    assert given_back == parsed(earlier.RELEASED)[0]
    assert (accepted.reward, accepted.value, accepted.facts) == (1.0, 12.5, {"customer.age": 40})
    assert (silence.outcome, silence.offer_id, silence.reward) == ("expired", "bill", 0.0)
    assert (silence.estimate, silence.worth, silence.facts) == (0.5, 1.0, {"customer.age": 40})
    assert (closed.outcome, closed.offer_id, closed.reward, closed.late) == ("closed", "gold", 1.0, True)
    assert [(name.decode(), int(at) - NOW_MS) for name, at in contacts] == [
        ("5:service:serve:C:phone:d1", 1000),
        ("1:cards:grow:a:phone:d1", 10_000),
        ("1:cards:grow:d:phone:d1", 10_000),
    ]


async def test_what_is_told_of_it_before_it_is_archived(redis: Any, redis_url: str) -> None:
    class Nothing:
        async def decision(self, decision_id: str) -> None:
            return None

        async def outcomes(self, decision_id: str, decided_at_ms: int | None = None) -> list[Outcome]:
            return []

    async with world.redis_log(redis_url, 1) as log:
        log = RedisLog(log.pipe, KEYS)
        await earlier.put_waiting(redis, is_earlier=True)
        await redis.set(KEYS.owner("d1"), "0 ann")
        await world.tell(log, 0, "d1", "gold", "presented", None, NOW_MS + 1, NOW_MS + 1, 0)
        record = await record_of("d1", log, Nothing())
        reply = await log.read("ann", False, "d1")
    assert record is not None
    assert [*record["seen"]["history"]] == [[1, NOW_MS - 5000, "cards", "grow", "d", "web"]]
    assert record["outcomes"] == [{"offer_id": "gold", "outcome": "presented", "recorded_at_ms": NOW_MS + 1}]
    assert reply.owner == "0 ann"
    assert reply.earlier == decided().decision


def parsed(fields: dict[bytes, bytes]) -> list[Outcome]:
    found = parse_entry(0, AT, fields)
    assert isinstance(found, list)
    return found


def decided(position: str = "1-0") -> LoggedDecision:
    found = parse_entry(0, StreamPosition(position), earlier.DECIDED)
    assert isinstance(found, LoggedDecision)
    return found


def test_entries_of_streams_are_read() -> None:
    logged = decided()
    decision = logged.decision
    assert logged.candidates.tolist() == [1, 5]
    assert logged.base_propensities.tolist() == [0.5, 0.5]
    assert logged.factors is not None
    assert logged.factors.tolist() == [[1.0, 1.5], [2.0, 3.0]]
    assert decision.contacts is not None
    assert decision.contacts.offers == (
        OfferContact("cards", "grow", True),
        OfferContact("service", "serve", False),
    )
    assert decision.customer_snapshot is not None
    assert decision.customer_snapshot.history == (Contact(1, NOW_MS - 5000, "cards", "grow", "d", "web"),)
    assert encode_decision(decision) == earlier.HEADER  # nothing is lost, in the same order
    assert [(o.offer_id, o.reward, o.estimate, o.facts) for o in parsed(earlier.EXPIRED)] == [
        ("gold", None, 0.5, {"customer.age": 40}),
        ("bill", 0.0, 0.5, {"customer.age": 40}),
    ]


async def test_the_archiver_and_the_learner_read_them(redis: Any, redis_url: str, postgres_url: str) -> None:
    await redis.flushdb()
    for fields in (earlier.DECIDED, earlier.CLICKED, earlier.RELEASED, earlier.EXPIRED):
        await redis.xadd(KEYS.log(0), fields)
    reader = LogReader(redis, KEYS)
    learned = await reader.read({}, count=10, block_ms=None, decisions=False)
    assert [o.outcome for o in learned.outcomes] == ["clicked", "released", "expired", "expired"]
    assert learned.decided == []
    engine, archiver = make_engine(postgres_url), Archiver(postgres_url)
    try:
        batch = await reader.read({}, count=10, block_ms=None, decisions=True)
        await archived(archiver, batch)
        archive = ArchiveReader(engine)
        found = await archive.decision("d1")
        assert found is not None
        assert found.decision == decided().decision
        assert answer_of(found.decision) == answer_of(decided().decision)
        assert np.array_equal(found.candidates, decided().candidates)
        assert {o.identity for o in await archive.outcomes("d1")} == {o.identity for o in batch.outcomes}

        # A rebuild beside it completes what an earlier version wrote, and gives nothing back twice.
        async with world.redis_log(redis_url, 1):
            await earlier.put_waiting(redis, is_earlier=True, **{"x:gold": b"1800000009000"})
            await redis.zrem(KEYS.contact("ann"), earlier.RESERVED)
            restorer = DecisionRestorer(engine, redis, KEYS)
            assert await restorer.restore(NOW_MS + 10_000, WEEK_MS) == 0
            stored = await redis.hgetall(KEYS.decision(0, "d1"))
            assert stored == earlier.WAITING | {
                b"x:gold": b"1800000009000",
                b"r:bill:clicked": b"1800000001000",
                b"s": b"expired",
            }
            names = await redis.zrange(KEYS.contact("ann"), 0, -1)
            assert names == [b"5:service:serve:C:phone:d1"]
    finally:
        await archiver.close()
        await engine.dispose()


@pytest.mark.parametrize("kept", [{}, {"x:gold": b"1800000009000"}])
async def test_a_rebuild_by_an_earlier_process(redis: Any, redis_url: str, kept: dict[str, bytes]) -> None:
    """It sends fields by their earlier names."""
    keys = (
        KEYS.decision(0, "d1"),
        KEYS.pending(0),
        KEYS.contact("ann"),
        KEYS.withdrawal(0, "d1"),
        KEYS.unconfirmed(0),
    )
    head = ("d1", UNTIL_MS, WEEK_MS, WEEK_MS, NOW_MS, "open", "", 1, "gold", NOW_MS, earlier.RESERVED)
    release = ("x:gold", NOW_MS + 9_000, "")
    waiting = [part for pair in earlier.WAITING.items() for part in pair]
    name = function_name("nb_restore")
    async with world.redis_log(redis_url, 1) as log:
        log = RedisLog(log.pipe, KEYS)
        await earlier.put_waiting(redis, is_earlier=False, **kept)
        assert await redis.fcall(name, 5, *keys, *head, *release, *waiting) == b"merged"
        assert await redis.zrange(KEYS.contact("ann"), 0, -1) == ([earlier.RESERVED.encode()] if kept else [])
        assert await redis.hget(keys[0], "rel:gold") == b"1800000009000"
        await redis.flushdb()
        assert await redis.fcall(name, 5, *keys, *head, *release, *waiting) == b"restored"
        status, _ = await world.tell(
            log, 0, "d1", "gold", "accepted", None, NOW_MS + 9_500, NOW_MS + 9_500, 0
        )
        assert status == "recorded"


async def archived(archiver: Archiver, batch: Batch) -> None:
    async with archiver.turn() as positions:
        assert positions is not None
        await archiver.write(batch)
