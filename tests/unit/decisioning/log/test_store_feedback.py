"""Outcomes that are told together: in a few calls, each for itself, and noted to be told again."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from decisioning.log.households.store_contacts import HouseholdContacts
from decisioning.log.ports import TellOutcome
from decisioning.log.store_feedback import MAX_AT_ONCE, MAX_IN_A_CALL, OutcomeWriter, calls_at_once
from decisioning.log.store_redis import RedisLog
from storage.errors import FunctionsUnavailable, RedisUnavailable
from storage.functions import function_name
from storage.keys import Keys
from storage.redis import make_redis
from storage.redis_pipe import Pipe
from tests.support import contact_world as world

NOW_MS = 1_800_000_000_000
NAMES = [f"told-{number}" for number in range(100)]


class Recent:
    """The writes that were noted."""

    def __init__(self) -> None:
        self.noted: list[tuple[Any, ...]] = []

    def note(self, *command: Any) -> None:
        self.noted.append(command)


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    client: Any = make_redis(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def log(redis: Any, redis_url: str) -> AsyncIterator[RedisLog]:
    async with world.redis_log(redis_url, 2) as made:
        view = world.catalogue(policies={}).view("web")
        for name in NAMES:
            assert (await world.decide(made, view, world.customer(name), name, ["news"], NOW_MS)).written
        yield made


def writer_of(log: RedisLog, recent: Recent, pipe: Pipe | None = None) -> OutcomeWriter:
    """The writer of a log, with notes of its own."""

    async def hand_over(visitor: str) -> None:
        raise AssertionError(visitor)

    used = pipe or log.pipe
    return OutcomeWriter(used, log.keys, recent, HouseholdContacts(used, log.keys, recent), hand_over)


def outcomes(log: RedisLog, names: Sequence[str] = NAMES, outcome: str = "accepted") -> list[TellOutcome]:
    """The same outcome of decisions, all at once."""
    return [
        TellOutcome(log.keys.bucket(name), name, "news", outcome, None, NOW_MS + 1, NOW_MS + 1, 0)
        for name in names
    ]


@given(st.lists(st.sampled_from([0, 1, 2, 3, 60]), max_size=400))
def test_calls_are_of_one_bucket_in_its_order_and_bounded(buckets: list[int]) -> None:
    at_once = list(calls_at_once(buckets))
    assert all(0 < sum(map(len, calls)) <= MAX_AT_ONCE for calls in at_once)
    in_order: dict[int, list[int]] = defaultdict(list)
    for call in (call for calls in at_once for call in calls):
        (bucket,) = {buckets[place] for place in call}
        assert len(call) <= MAX_IN_A_CALL
        in_order[bucket] += call
    assert in_order == {b: [p for p, one in enumerate(buckets) if one == b] for b in set(buckets)}


async def test_one_that_fails_keeps_no_other_from_being_recorded(redis: Any, log: RedisLog) -> None:
    broken = log.keys.decision(log.keys.bucket(NAMES[7]), NAMES[7])
    await redis.delete(broken)
    await redis.set(broken, "no hash")
    replies = await log.feedback(outcomes(log))
    assert isinstance(replies[7], FunctionsUnavailable)
    assert "WRONGTYPE" in str(replies[7])
    assert {reply for place, reply in enumerate(replies) if place != 7} == {("recorded", str(NOW_MS + 1))}
    assert len(replies) == len(NAMES)


async def test_without_redis_there_is_a_reason_for_each(log: RedisLog) -> None:
    writer = writer_of(log, recent := Recent(), Pipe("redis://localhost:1"))
    replies = await writer.record(outcomes(log))
    assert [type(reply) for reply in replies] == [RedisUnavailable] * len(NAMES)
    assert recent.noted == []


class Answering:
    """A pipe that answers outcomes as it was told to, and what was followed up."""

    def __init__(self, replies: Mapping[str, list[Any]], unreachable: Collection[str] = ()) -> None:
        self._replies = replies
        self._unreachable = unreachable
        self.households: list[tuple[Any, ...]] = []
        self.visitors: list[str] = []

    async def functions(self, name: str, calls: list[tuple[Any, list[Any]]]) -> list[Any]:
        return [[self._replies[one] for one in arguments[::11]] for _, arguments in calls]

    async def add(self, household_id: str, *rest: Any) -> None:
        self._reach(household_id)
        self.households.append((household_id, *rest))

    async def hand_over(self, visitor: str) -> None:
        self._reach(visitor)
        self.visitors.append(visitor)

    def _reach(self, name: str) -> None:
        if name in self._unreachable:
            raise RedisUnavailable(name)


async def test_only_who_could_be_followed_up_is_acknowledged() -> None:
    again = [b"h1", b"5", b"a member", b"1000"]
    replies: dict[str, list[Any]] = {
        "plain": [b"recorded", b"7", None],
        "refused": [b"contradicts", b"accepted"],
        "alias": [b"duplicate", b"7", b"visitor:1"],
        "lost": [b"recorded", b"7", b"visitor:2"],
        "back": [b"recorded", b"7", None, *again],
        "far": [b"late", b"7", None, b"h2", *again[1:]],
        "both": [b"recorded", b"7", b"visitor:2", *again],
    }
    answering: Any = Answering(replies, {"visitor:2", "h2"})
    writer = OutcomeWriter(answering, Keys(2), Recent(), answering, answering.hand_over)
    told = [TellOutcome(len(name) % 2, name, "news", "accepted", None, NOW_MS, NOW_MS, 0) for name in replies]
    found = dict(zip(replies, await writer.record(told), strict=True))
    assert {name: one[0] for name, one in found.items() if isinstance(one, tuple)} == {
        "plain": "recorded",
        "refused": "contradicts",
        "alias": "duplicate",
        "back": "recorded",
    }
    assert {name: str(one) for name, one in found.items() if not isinstance(one, tuple)} == {
        "lost": "visitor:2",
        "far": "h2",
        "both": "visitor:2",
    }
    assert found["refused"] == ("contradicts", "accepted")
    assert answering.visitors == ["visitor:1"]
    assert answering.households == [("h1", (0, "back"), 5, b"a member", 1000)]


async def test_what_was_recorded_is_noted_and_nothing_else(redis: Any, log: RedisLog) -> None:
    writer = writer_of(log, recent := Recent())
    await writer.record(outcomes(log, NAMES[:10]))
    noted = [arguments for _, _, *each in recent.noted for arguments in each]
    assert sorted(arguments[0] for arguments in noted) == sorted(NAMES[:10])
    recent.noted.clear()
    await writer.record(outcomes(log, [*NAMES[:10], "nobody"]))  # duplicates, and one that there is not
    await writer.record(outcomes(log, NAMES[:10], "rejected"))  # contradicts
    assert recent.noted == []
    await writer.record(outcomes(log, NAMES[5:15]))
    noted = [arguments for _, _, *each in recent.noted for arguments in each]
    assert sorted(arguments[0] for arguments in noted) == sorted(NAMES[10:15])
    before = [await redis.xlen(log.keys.log(bucket)) for bucket in (0, 1)]
    for name, keys, *each in recent.noted:
        flat = [argument for arguments in each for argument in arguments]
        replies = await redis.fcall(function_name(name), len(keys), *keys, *flat)
        assert {reply[0] for reply in replies} == {b"duplicate"}
    assert [await redis.xlen(log.keys.log(bucket)) for bucket in (0, 1)] == before
