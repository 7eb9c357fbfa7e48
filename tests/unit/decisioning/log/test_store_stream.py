"""Entries that several readers of one process meet are parsed once, and never mistaken for others."""

from typing import Any

import pytest

from decisioning.errors import LogCodecError
from decisioning.log.codec import outcome_fields, parse_entry
from decisioning.log.store_stream import BATCH_ENTRIES, LogReader, ParsedEntries
from decisioning.model.position import StreamPosition
from storage.keys import Keys
from storage.redis import make_redis
from tests.support.logged import ACCEPTED

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
