"""A batch with records that cannot be stored: these are found, and all others are stored."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from decisioning.log.store_dead_letters import copy_or_refuse, is_fault_of_record
from decisioning.log.store_stream import Batch
from decisioning.model.decision import LoggedDecision
from decisioning.model.logged_event import LoggedEvent
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition


class Connection:
    """A connection whose transactions roll back what was copied in them."""

    def __init__(self) -> None:
        self.stored: list[StreamPosition] = []

    def transaction(self) -> "Connection":
        return self

    async def __aenter__(self) -> None:
        self._before = list(self.stored)

    async def __aexit__(self, kind: object, *rest: object) -> None:
        if kind is not None:
            self.stored = self._before

    async def execute(self, statement: str) -> None:
        pass


def outcome(at: int) -> Outcome:
    known: dict[str, Any] = {"value": None, "late": False, "reward": None, "base_propensity": 0.5}
    return Outcome(
        bucket=at % 3,
        position=StreamPosition(f"{at}-0"),
        decision_id="d",
        decided_at_ms=0,
        offer_id="o",
        offer=1,
        outcome="accepted",
        at_ms=0,
        recorded_ms=0,
        policy="p@1",
        placement="web",
        **known,
    )


@given(st.integers(0, 40), st.sets(st.integers(0, 39)))
@settings(max_examples=60)
async def test_exactly_what_cannot_be_stored_is_refused(count: int, bad: set[int]) -> None:
    connection: Any = Connection()
    copies = 0

    async def copy(
        decided: Sequence[LoggedDecision], outcomes: Sequence[Outcome], events: Sequence[LoggedEvent]
    ) -> None:
        nonlocal copies
        copies += 1
        for one in outcomes:
            connection.stored.append(one.position)
            if one.position.at_ms in bad:
                raise asyncpg.DataError("invalid byte sequence")

    batch = Batch(outcomes=[outcome(at) for at in range(count)])
    refused = await copy_or_refuse(connection, batch, copy)
    found = {position.at_ms for _, position in refused}
    assert found == {at for at in bad if at < count}
    assert [p.at_ms for p in connection.stored] == [at for at in range(count) if at not in bad]
    assert copies <= 1 + 2 * max(len(found), 1) * 8
    assert all("invalid byte sequence" in reason for reason in refused.values())


@pytest_asyncio.fixture
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    made = await asyncpg.connect(postgres_url)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("statement", "is_its_fault"),
    [
        ("SELECT '{\"a\": NaN}'::jsonb", True),
        ("SELECT '\\u0000'::jsonb ->> 0 FROM (SELECT '\"\\u0000\"'::jsonb) AS x", True),
        ("SELECT 99999999999::int", True),
        ("INSERT INTO archived VALUES (NULL, 'x')", True),
        ("SELECT * FROM no_such_table", False),
        ("SELECT pg_terminate_backend(pg_backend_pid())", False),
    ],
)
async def test_faults_of_records_are_told_from_those_of_the_database(
    database: asyncpg.Connection, statement: str, is_its_fault: bool
) -> None:
    with pytest.raises(asyncpg.PostgresError) as raised:
        await database.execute(statement)
    assert is_fault_of_record(raised.value) is is_its_fault


def test_what_python_refuses_is_the_fault_of_the_record() -> None:
    assert is_fault_of_record(OverflowError("date value out of range"))
    assert not is_fault_of_record(ConnectionResetError("gone"))
    assert not is_fault_of_record(TimeoutError())


async def test_a_fault_of_the_database_sets_nothing_aside() -> None:
    async def copy(decided: object, outcomes: object, events: object) -> None:
        raise asyncpg.OutOfMemoryError("out of shared memory")

    with pytest.raises(asyncpg.OutOfMemoryError):
        await copy_or_refuse(Connection(), Batch(outcomes=[outcome(1)]), copy)
