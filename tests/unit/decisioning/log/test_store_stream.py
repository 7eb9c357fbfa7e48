"""Entries that several readers of one process meet are parsed once, and never mistaken for others."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from decisioning.errors import LogCodecError
from decisioning.log import store_stream
from decisioning.log.codec import outcome_fields, parse_entry
from decisioning.log.store_stream import BATCH_ENTRIES, KEPT_S, Batch, LogReader, ParsedEntries
from decisioning.model.position import StreamPosition
from storage.errors import RedisUnavailable
from storage.keys import Keys
from storage.redis import make_redis, read_streams
from tests.support.logged import ACCEPTED
from tests.support.waiting import within

AT = StreamPosition("5-0")


def entry(offer_id: str) -> dict[bytes, bytes]:
    names_and_values = [part.encode() for part in outcome_fields(ACCEPTED)]
    fields = dict(zip(names_and_values[::2], names_and_values[1::2], strict=True))
    return {**fields, b"o": offer_id.encode()}


@pytest.fixture
def parsed_positions(monkeypatch: pytest.MonkeyPatch) -> list[StreamPosition]:
    found: list[StreamPosition] = []

    def counted(bucket: int, position: StreamPosition, fields):  # type: ignore[no-untyped-def]
        found.append(position)
        return parse_entry(bucket, position, fields)

    monkeypatch.setattr("decisioning.log.store_stream.parse_entry", counted)
    return found


def test_an_entry_that_is_read_again_is_not_parsed_again(parsed_positions: list[StreamPosition]) -> None:
    parsed = ParsedEntries()
    first, again = (parsed.parse(1, AT, entry("gold")) for _ in range(2))
    assert (again is first, parsed_positions) == (True, [AT])
    assert first[1][0].offer_id == "gold"


def test_another_entry_at_the_same_position_is_parsed() -> None:
    parsed = ParsedEntries()
    said = [parsed.parse(bucket, AT, entry(name))[1][0] for bucket, name in ((1, "a"), (1, "b"), (2, "b"))]
    assert [(one.bucket, one.offer_id) for one in said] == [(1, "a"), (1, "b"), (2, "b")]


def test_the_last_ones_are_remembered_and_no_more_than_twice_as_many(
    parsed_positions: list[StreamPosition],
) -> None:
    parsed = ParsedEntries(size=10)
    positions = [StreamPosition(f"{number}-0") for number in range(1, 101)]
    for position in positions:
        parsed.parse(0, position, entry("a"))
    del parsed_positions[:]
    for position in reversed(positions[-10:]):
        parsed.parse(0, position, entry("a"))
    assert parsed_positions == []
    for position in positions[:80]:
        parsed.parse(0, position, entry("a"))
    assert parsed_positions == positions[:80]


def test_an_entry_that_cannot_be_read_raises_every_time() -> None:
    parsed = ParsedEntries()
    for _ in range(2):
        with pytest.raises(LogCodecError):
            parsed.parse(0, AT, {b"t": b"unknown"})


@pytest.mark.parametrize("erased", [0, 1, 2, 5, BATCH_ENTRIES + 2, BATCH_ENTRIES + 3])
async def test_what_waits_behind_any_number_of_erased_entries_is_found(redis_url: str, erased: int) -> None:
    keys, redis = Keys(2), make_redis(redis_url)
    connection: Any = redis
    try:
        await connection.flushdb()
        async with connection.pipeline(transaction=False) as pipe:
            for number in range(erased):
                pipe.xadd(keys.log(1), {"t": "start"}, id=f"{1000 + number}-0")
            await pipe.execute()
        reader = LogReader(redis, keys)
        assert await reader.oldest_behind({}) is None
        await connection.xadd(keys.log(1), {"t": "event"}, id="90000-0")
        assert await reader.oldest_behind({1: StreamPosition("1000-0")}) == 90000
        await connection.xadd(keys.log(0), {"t": "event"}, id="80000-0")
        assert await reader.oldest_behind({}) == 80000
        assert await reader.oldest_behind({0: StreamPosition("80000-0")}) == 90000
    finally:
        await connection.flushdb()
        await redis.aclose()


AT_ONCE = 10
"""Entries of a bucket that are read at once here."""


class Backlog:
    """A log of two buckets in Redis, and readers of one process, which count how often Redis was asked."""

    def __init__(self, redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.redis, self.keys, self.parsed = redis, Keys(2), ParsedEntries()
        self.asked = 0

        async def counted(*arguments: Any, **more: Any) -> Any:
            self.asked += 1
            return await read_streams(*arguments, **more)

        monkeypatch.setattr(store_stream, "read_streams", counted)

    def reader(self) -> LogReader:
        """A reader that shares what was parsed with the others."""
        return LogReader(self.redis, self.keys, self.parsed)

    async def tell(self, *numbers: int, offer_id: str = "gold") -> None:
        """Log an outcome at each of these positions, in both buckets."""
        for bucket in range(2):
            for number in numbers:
                await self.redis.xadd(self.keys.log(bucket), entry(offer_id), id=f"{number}-0")


@pytest.fixture
async def backlog(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backlog]:
    redis: Any = make_redis(redis_url)
    try:
        await redis.flushdb()
        yield Backlog(redis, monkeypatch)
    finally:
        await redis.flushdb()
        await redis.aclose()


async def lessons(reader: LogReader, behind: int = 0, *, since_s: float | None = 0.0) -> Batch:
    """Read what both buckets teach behind a position, as a learner does that has loaded its arms at ``since_s``."""
    positions = dict.fromkeys(range(2), StreamPosition(f"{behind}-0"))
    return await reader.read(
        positions, count=AT_ONCE, block_ms=None, decisions=since_s is None, kept_since_s=since_s
    )


def told(batch: Batch) -> list[tuple[int, int]]:
    """Return bucket and position of each outcome, in order."""
    return sorted((outcome.bucket, outcome.position.at_ms) for outcome in batch.outcomes)


def both(first: int, last: int) -> list[tuple[int, int]]:
    """Return what is told by the entries of both buckets from position ``first`` to ``last``."""
    return [(bucket, number) for bucket in range(2) for number in range(first, last + 1)]


async def test_learners_that_are_behind_ask_redis_once(backlog: Backlog) -> None:
    await backlog.tell(*range(1, 26))
    first, second = backlog.reader(), backlog.reader()
    ahead = await lessons(first)
    assert (told(ahead), ahead.is_full, backlog.asked) == (both(1, 10), True, 1)
    behind = await lessons(second)
    assert (told(behind), behind.last, behind.is_full, backlog.asked) == (both(1, 10), ahead.last, True, 1)
    # Both ask at once from here on: one reads, and the other waits for that.
    pair = await asyncio.gather(lessons(first, 10), lessons(second, 10))
    assert ([told(batch) for batch in pair], backlog.asked) == ([both(11, 20)] * 2, 2)


async def test_a_learner_that_is_elsewhere_gets_the_rest_of_what_was_read(backlog: Backlog) -> None:
    await backlog.tell(*range(1, 31))
    await lessons(backlog.reader())
    other = backlog.reader()
    batch = await lessons(other, 7)
    assert (told(batch), batch.is_full, backlog.asked) == (both(8, 10), True, 1)
    # Nothing was kept of what lies behind the last entry of a read.
    assert (told(await lessons(other, 10)), backlog.asked) == (both(11, 20), 2)
    assert (told(await lessons(other, 20)), backlog.asked) == (both(21, 30), 3)
    # Nor is it known what lies behind a position that no entry has.
    between = dict.fromkeys(range(2), StreamPosition("5-1"))
    batch = await other.read(between, count=3, block_ms=None, decisions=False, kept_since_s=0.0)
    assert (told(batch), backlog.asked) == (both(6, 8), 4)


async def test_buckets_that_were_not_read_are_asked_for(backlog: Backlog) -> None:
    await backlog.tell(*range(1, 21))
    await backlog.reader().read(
        {}, count=AT_ONCE, block_ms=None, decisions=False, buckets=[1], kept_since_s=0.0
    )
    batch = await lessons(backlog.reader())
    assert (told(batch), backlog.asked) == (both(1, 10), 2)
    assert {bucket: position.at_ms for bucket, position in batch.last.items()} == {0: 10, 1: 10}


async def test_a_kept_read_moves_over_what_teaches_nothing(backlog: Backlog) -> None:
    await backlog.tell(*range(1, 7))
    for bucket in range(2):
        for number, kind in ((7, "start"), (8, "unknown"), (9, "start"), (10, "start")):
            await backlog.redis.xadd(backlog.keys.log(bucket), {"t": kind}, id=f"{number}-0")
    first, second = await lessons(backlog.reader()), await lessons(backlog.reader())
    assert (told(second), second.last, backlog.asked) == (both(1, 6), first.last, 1)
    # Also where that is all that is left of it.
    batch = await lessons(backlog.reader(), 8)
    assert (told(batch), batch.last, backlog.asked) == ([], first.last, 1)


async def test_nothing_is_kept_where_nobody_is_behind(backlog: Backlog) -> None:
    await backlog.tell(*range(1, 10))
    for asked in (1, 2):
        batch = await lessons(backlog.reader())
        assert (told(batch), batch.is_full, backlog.asked) == (both(1, 9), False, asked)


def pass_by(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let time pass, for all but the event loop, which has its own clock."""
    now_s = time.monotonic() + seconds
    monkeypatch.setattr(time, "monotonic", lambda: now_s)


async def test_what_was_read_long_ago_is_read_again_and_let_go(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backlog.tell(*range(1, 11), offer_id="lost")
    await lessons(backlog.reader())
    await backlog.redis.flushdb()
    await backlog.tell(*range(1, 10), offer_id="new")
    assert len(backlog.parsed.kept(0, StreamPosition("0-0"), 0.0)) == AT_ONCE
    pass_by(monkeypatch, KEPT_S + 0.1)
    assert backlog.parsed.kept(0, StreamPosition("0-0"), 0.0) == ()
    batch = await lessons(backlog.reader())
    assert ({outcome.offer_id for outcome in batch.outcomes}, backlog.asked) == ({"new"}, 2)
    pass_by(monkeypatch, -KEPT_S)
    assert backlog.parsed.kept(0, StreamPosition("0-0"), 0.0) == ()


async def test_what_was_read_before_arms_were_rebuilt_is_not_learned_into_them(backlog: Backlog) -> None:
    await backlog.tell(*range(1, 11), offer_id="lost")
    await lessons(backlog.reader())
    await backlog.redis.flushdb()
    await backlog.tell(*range(1, 11), offer_id="new")
    batch = await lessons(backlog.reader(), since_s=time.monotonic())
    assert ({outcome.offer_id for outcome in batch.outcomes}, backlog.asked) == ({"new"}, 2)


async def test_who_does_not_ask_for_what_was_kept_reads_the_log_itself(backlog: Backlog) -> None:
    await backlog.tell(*range(1, 21))
    archiver, learner = backlog.reader(), backlog.reader()
    await lessons(learner)
    assert (told(await lessons(archiver, since_s=None)), backlog.asked) == (both(1, 10), 2)
    assert (told(await lessons(archiver, 10, since_s=None)), backlog.asked) == (both(11, 20), 3)
    assert (told(await lessons(learner, 10)), backlog.asked) == (both(11, 20), 4)


async def test_nobody_waits_long_for_the_turn_of_another(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_stream, "KEPT_S", 0.05)
    await backlog.tell(*range(1, 31))
    readers = [backlog.reader() for _ in range(3)]
    for reader in readers:
        await lessons(reader)
    async with backlog.parsed.turn():  # by one whose Redis does not answer
        waiting = [asyncio.create_task(lessons(reader, 10)) for reader in readers]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        waiting[0].cancel()
        assert told(await within(waiting[1], "one that waits")) == both(11, 20)
        assert told(await within(waiting[2], "another one")) == both(11, 20)
    assert waiting[0].cancelled()
    # It is free again, also after one that failed.
    with pytest.raises(RedisUnavailable):
        async with backlog.parsed.turn():
            raise RedisUnavailable("it is gone")
    monkeypatch.setattr(store_stream, "KEPT_S", 60.0)
    async with asyncio.timeout(30), backlog.parsed.turn():
        pass
