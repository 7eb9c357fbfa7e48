"""Partitions of the archived log: months of the last years, made ahead, and never a reason to stop."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest_asyncio

from decisioning.log.store_partitions import (
    MAX_AT_ONCE,
    MONTHS_AHEAD,
    MONTHS_BACK,
    Partitions,
    add_months,
    in_months,
    month_of,
)
from storage.clock import to_ms

NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)
MONTH = datetime(2026, 11, 1, tzinfo=UTC)


@pytest_asyncio.fixture
async def connection(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    made = await asyncpg.connect(postgres_url)
    yield made
    await made.close()


async def names(connection: asyncpg.Connection) -> set[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'decisions'::regclass"
    return {row[0] for row in await connection.fetch(query)}


def test_months_are_counted_over_the_ends_of_years() -> None:
    assert month_of(NOW) == MONTH
    assert add_months(MONTH, 2) == datetime(2027, 1, 1, tzinfo=UTC)
    assert add_months(MONTH, -11) == datetime(2025, 12, 1, tzinfo=UTC)
    assert add_months(MONTH, 0) == MONTH


def test_a_condition_spans_whole_months() -> None:
    found = in_months(to_ms(datetime(2026, 12, 31, 23, tzinfo=UTC)), to_ms(datetime(2027, 1, 1, tzinfo=UTC)))
    assert found == (
        " AND decided_at >= '2026-12-01T00:00:00+00:00' AND decided_at < '2027-02-01T00:00:00+00:00'"
    )


def test_what_is_lacking_is_bounded_in_number_and_in_age() -> None:
    partitions = Partitions()
    months = [add_months(MONTH, n) for n in range(-MONTHS_BACK - 5, MONTHS_AHEAD + 5)]
    lacking = partitions.lacking([to_ms(month) for month in months], NOW)
    assert lacking == [add_months(MONTH, MONTHS_AHEAD - n) for n in range(MAX_AT_ONCE)]
    assert partitions.lacking([0, 10**18, -(10**18)], NOW) == []


async def test_months_are_made_ahead_once(connection: asyncpg.Connection) -> None:
    partitions: Any = Partitions()
    await partitions.make_ahead(connection, NOW)
    assert {"decisions_2026_11", "decisions_2026_12", "decisions_2027_01"} <= await names(connection)
    assert partitions.lacking([to_ms(NOW)], NOW) == []
    made = await names(connection)
    await Partitions().make_ahead(connection, NOW)  # another archiver
    assert await names(connection) == made


async def test_a_month_that_cannot_be_made_is_no_reason_to_stop(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "INSERT INTO decisions (decision_id, decided_at, customer_id, placement, policy, bucket, position, header,"
        " candidates, priors) VALUES ('d', '2024-03-05T00:00:00Z', 'ann', 'web', 'p@1', 0, '1-0', '{}', '', '')"
    )
    partitions = Partitions()
    month = datetime(2024, 3, 1, tzinfo=UTC)
    await partitions.make(connection, [month, add_months(month, 1)])
    found = await names(connection)
    assert "decisions_2024_03" not in found
    assert "decisions_2024_04" in found
    assert partitions.lacking([to_ms(month)], NOW) == []
