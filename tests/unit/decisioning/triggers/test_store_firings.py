"""Firings in Postgres: one for each occasion of a customer, due at once."""

import asyncio
from dataclasses import replace

from sqlalchemy import text

from decisioning.triggers.firing import Firing
from decisioning.triggers.store_firings import insert_firings, last_fired
from storage.postgres import make_engine, transaction

FIRST = Firing("calls", 3, "c1", "event e1", {"type": "call"}, 1_000_000, 4_600_000)


def test_an_occasion_fires_once_whatever_is_tried(postgres_url: str) -> None:
    async def tried() -> tuple[list[int], list[tuple[str, str, str, int]], dict[tuple[str, str], int]]:
        engine = make_engine(postgres_url)
        counts = []
        others = [
            replace(FIRST, occasion="event e2", fired_at_ms=2_000_000),
            replace(FIRST, customer_id="c2"),
            replace(FIRST, trigger_id="basket"),
        ]
        for firings in ([FIRST, replace(FIRST, fired_at_ms=3_000_000)], [FIRST, *others], [FIRST], []):
            async with transaction(engine) as connection:
                counts.append(await insert_firings(connection, firings))
        async with transaction(engine) as connection:
            found = await connection.execute(
                text("SELECT status, occasion, cause->>'type' AS type, attempts FROM trigger_firings")
            )
            rows = sorted(tuple(row) for row in found)
            last = await last_fired(connection, [("calls", "c1"), ("basket", "c1"), ("basket", "c2")])
        await engine.dispose()
        return counts, rows, last

    counts, rows, last = asyncio.run(tried())
    assert counts == [1, 3, 0, 0]
    assert rows == [("due", f"event e{n}", "call", 0) for n in (1, 1, 1, 2)]
    assert last == {("calls", "c1"): 2_000_000, ("basket", "c1"): 1_000_000}
