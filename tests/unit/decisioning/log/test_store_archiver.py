"""The archiver: what it writes twice counts once, what it cannot write is set aside with its turn, or raises."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from decisioning.log.store_archiver import Archiver
from decisioning.log.store_dead_letters import Deed
from decisioning.log.store_stream import Batch, UnreadEntry
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.errors import PostgresUnavailable


@pytest_asyncio.fixture
async def archiver(postgres_url: str) -> AsyncIterator[Archiver]:
    made = Archiver(postgres_url)
    yield made
    await made.close()


def batch(*offers: str) -> Batch:
    """Outcomes of one bucket, one entry each."""
    known: dict[str, Any] = {"value": None, "late": False, "reward": 1.0, "base_propensity": 0.5}
    outcomes = [
        Outcome(
            bucket=1,
            position=StreamPosition(f"{at}-0"),
            decision_id="d",
            decided_at_ms=1_790_000_000_000,
            offer_id=offer,
            offer=1,
            outcome="accepted",
            at_ms=0,
            recorded_ms=0,
            policy="p@1",
            placement="web",
            **known,
        )
        for at, offer in enumerate(offers, 1)
    ]
    return Batch({1: StreamPosition(f"{len(offers)}-0")}, [], outcomes)


async def stored(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_a_turn_is_all_or_nothing_and_bad_entries_are_set_aside(
    archiver: Archiver, postgres_url: str
) -> None:
    async def fetch(bucket: int, position: StreamPosition) -> dict[bytes, bytes]:
        return {b"t": b"outcome", b"at": position.encode()}

    mixed = batch("a", "b\x00", "c")
    with pytest.raises(PostgresUnavailable):
        async with archiver.turn():
            await archiver.write(mixed)
    assert await stored(postgres_url, "SELECT position FROM archived") == []
    mixed.unread.append(UnreadEntry(1, StreamPosition("9-9"), {b"x": b"\x00\xff"}, "no type"))
    for _ in range(2):
        async with archiver.turn():
            assert await archiver.write(mixed, fetch) == 2
    assert sorted(await stored(postgres_url, "SELECT offer_id FROM outcomes")) == ["a", "c"]
    assert await stored(postgres_url, "SELECT sum(accepted)::int FROM acceptance") == [2]
    assert await stored(postgres_url, "SELECT position FROM dead_letters ORDER BY 1") == ["2-0", "9-9"]
    assert await stored(postgres_url, "SELECT entry[2] FROM dead_letters ORDER BY position") == [
        b"outcome",
        b"\x00\xff",
    ]
    assert (await archiver.positions())[1] == StreamPosition("3-0")
    async with archiver.turn():
        refused = await archiver.write_again(batch("b\x00"), 1, StreamPosition("2-0"), Deed("ann"))
        assert "Character" in (refused or "")
        assert await archiver.write_again(batch("b"), 1, StreamPosition("2-0"), Deed("ann")) == ""
        assert await archiver.write_again(batch("d"), 1, StreamPosition("2-0"), Deed("ann")) is None
    assert sorted(await stored(postgres_url, "SELECT offer_id FROM outcomes")) == ["a", "b", "c"]
    assert await stored(postgres_url, "SELECT details ->> 'ids' FROM privacy_actions") == ['["1:2-0"]']
    assert await stored(postgres_url, "SELECT position FROM dead_letters") == ["9-9"]
