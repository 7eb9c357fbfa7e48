"""Indexes by which customers are searched for: made beside writers, made anew, removed; and the search by them."""

import asyncio
from collections.abc import Iterable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.store import ProfileStore
from profiles.store_identifiers import CustomerSearch, Hit, Hits, IdentifierIndexes, _search_for
from storage.errors import PostgresUnavailable
from storage.locks import IDENTIFIERS_LOCK
from tests.support.customers import customer, store_customer

LONG = "x" * 4000
INDEXES = text(
    "SELECT count(*), coalesce(bool_and(indisvalid), true) FROM pg_index JOIN pg_class ON oid = indexrelid"
    " WHERE indrelid = 'customers'::regclass AND relname LIKE 'customers\\_by\\_%'"
)


async def indexes(engine: AsyncEngine) -> tuple[int, bool]:
    """How many there are, and whether all of them can be used."""
    async with engine.connect() as connection:
        row = (await connection.execute(INDEXES)).one()
        return row[0], row[1]


async def find(engine: AsyncEngine, asked: str, names: Iterable[str] = ("phone",), limit: int = 5) -> Hits:
    return await CustomerSearch(engine).find(asked, list(names), limit)


@pytest.fixture(autouse=True)
async def empty(engine: AsyncEngine) -> None:
    """No customer, and no index of an earlier test."""
    await IdentifierIndexes(engine).keep([])
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE customers, propensities, suppressions, aliases"))


async def test_indexes_are_made_once_and_go_when_they_are_not_declared(engine: AsyncEngine) -> None:
    keeper = IdentifierIndexes(engine)
    await asyncio.gather(*(keeper.keep(["phone", "contract"]) for _ in range(3)))
    await keeper.keep(["phone", "contract"])
    assert await indexes(engine) == (2, True)
    await keeper.keep(["contract", "x" * 64, "x" * 63 + "y"])
    assert await indexes(engine) == (3, True)
    await keeper.keep([])
    assert await indexes(engine) == (0, True)


async def test_whoever_is_not_the_one_at_it_does_nothing(engine: AsyncEngine) -> None:
    async with engine.begin() as holder:
        await holder.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": IDENTIFIERS_LOCK})
        await IdentifierIndexes(engine).keep(["phone"])
        assert await indexes(engine) == (0, True)


async def test_an_index_that_was_cut_off_is_made_anew(engine: AsyncEngine, store: ProfileStore) -> None:
    await store_customer(store, customer(attributes={"phone": "600"}))
    keeper = IdentifierIndexes(engine)
    await keeper.keep(["phone"])
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text LIKE 'customers_by_%'"
            )
        )
    assert await find(engine, "600") == Hits([], False, ["phone"])
    await keeper.keep(["phone"])
    assert await indexes(engine) == (1, True)
    assert await find(engine, "600") == Hits([Hit("c1", ["customer.phone"])], False, [])


async def test_customers_are_written_while_an_index_is_made(engine: AsyncEngine, store: ProfileStore) -> None:
    async with engine.begin() as writing:
        await writing.execute(text("INSERT INTO customers (customer_id) VALUES ('open')"))
        making = asyncio.create_task(IdentifierIndexes(engine).keep(["phone"]))
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
        )
        async with engine.connect() as other:
            autocommit = await other.execution_options(isolation_level="AUTOCOMMIT")
            while not await autocommit.scalar(waiting):
                assert not making.done()
                await asyncio.sleep(0.01)
        await store_customer(store, customer(attributes={"phone": "600"}))
    await making
    assert (await find(engine, "600")).customers == [Hit("c1", ["customer.phone"])]


async def test_without_its_index_an_attribute_is_not_searched(
    engine: AsyncEngine, store: ProfileStore
) -> None:
    await store_customer(store, customer(attributes={"phone": "600"}))
    assert await find(engine, "600") == Hits([], False, ["phone"])
    await IdentifierIndexes(engine).keep(["phone"])
    assert await find(engine, "600", ["phone", "contract"]) == Hits(
        [Hit("c1", ["customer.phone"])], False, ["contract"]
    )
    assert await find(engine, "600", []) == Hits([], False, [])


async def test_values_are_compared_to_the_letter_and_long_ones_are_stored(
    engine: AsyncEngine, store: ProfileStore
) -> None:
    await IdentifierIndexes(engine).keep(["phone"])
    for id_, phone in (("exact", "Año 1"), ("number", 12), ("long", LONG), ("begins", "Año 1" + LONG)):
        await store_customer(store, customer(customer_id=id_, attributes={"phone": phone}))
    assert [hit.customer_id for hit in (await find(engine, "Año 1")).customers] == ["exact"]
    assert [hit.customer_id for hit in (await find(engine, "12")).customers] == ["number"]
    for other in ("año 1", "Año", LONG[:128], "%"):
        assert (await find(engine, other)).customers == []


async def test_the_one_of_this_id_comes_first_and_no_more_than_asked_for(
    engine: AsyncEngine, store: ProfileStore
) -> None:
    await IdentifierIndexes(engine).keep(["phone", "contract"])
    for i in range(4):
        await store_customer(store, customer(customer_id=f"a{i}", attributes={"phone": "z9"}))
    both = {"phone": "z9", "contract": "z9"}
    await store_customer(store, customer(customer_id="z9", attributes=both))
    found = await find(engine, "z9", ["phone", "contract"], limit=5)
    assert found.customers[0] == Hit("z9", ["customer.contract", "customer.phone", "customer_id"])
    assert [hit.customer_id for hit in found.customers[1:]] == ["a0", "a1", "a2", "a3"]
    assert not found.more
    found = await find(engine, "z9", ["phone", "contract"], limit=3)
    assert [hit.customer_id for hit in found.customers][:1] == ["z9"]
    assert (len(found.customers), found.more) == (3, True)


async def test_all_customers_are_never_looked_through(engine: AsyncEngine) -> None:
    await IdentifierIndexes(engine).keep(["phone"])
    fill = (
        "INSERT INTO customers (customer_id, attributes) SELECT 'c' || n, jsonb_build_object('phone', {value})"
        " FROM generate_series(1, 5000) AS n"
    )
    for value in (
        "'unknown'",
        "'6' || n",
    ):  # all have the same, of which Postgres knows nothing or everything
        async with engine.begin() as connection:
            await connection.execute(text("TRUNCATE customers"))
            await connection.execute(text(fill.format(value=value)))
            for analysed in (False, True):
                if analysed:
                    await connection.execute(text("ANALYZE customers"))
                await connection.execute(text("SELECT set_config('enable_seqscan', 'off', true)"))
                values = {"asked": "unknown", "visitor": "visitor:unknown", "most": 21}
                plan = "\n".join(
                    (await connection.execute(text(f"EXPLAIN {_search_for(['phone'])}"), values)).scalars()
                )
                assert "Seq Scan on customers" not in plan
                assert "customers_by_" in plan


async def test_a_name_that_is_none_makes_no_statement(engine: AsyncEngine) -> None:
    with pytest.raises(ValueError, match="no name"):
        await IdentifierIndexes(engine).keep(["phone' IS NULL --"])


async def test_a_search_is_not_waited_for_longer_than_the_desk_waits(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profiles.store_identifiers.SEARCH_TIMEOUT_S", 0.05)
    async with engine.begin() as blocking:
        await blocking.execute(text("LOCK TABLE aliases"))
        with pytest.raises(PostgresUnavailable):
            await find(engine, "600")
