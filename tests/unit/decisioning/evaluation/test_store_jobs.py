"""Evaluations that were asked for: each is taken once, by whoever comes first, and again if its process died."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.errors import Conflict, NotFound
from decisioning.evaluation.store_jobs import DEAD_S, MAX_OPEN, RETENTION_DAYS, EvaluationStore
from storage.postgres import make_engine, transaction

REQUEST = {"policy": "a@1", "limit": 5, "since": None}


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """This module's database, without evaluations."""
    made = make_engine(postgres_url, pool_size=3)
    await run(made, "DELETE FROM evaluations")
    yield made
    await made.dispose()


@pytest.fixture
def store(engine: AsyncEngine) -> EvaluationStore:
    """The store of evaluations."""
    return EvaluationStore(engine)


async def run(engine: AsyncEngine, statement: str) -> None:
    """Run a statement."""
    async with transaction(engine) as connection:
        await connection.execute(text(statement))


async def test_the_life_of_an_evaluation(store: EvaluationStore) -> None:
    asked = await store.ask("e1", REQUEST, "ann")
    assert (asked.request, asked.author, asked.state, asked.result) == (REQUEST, "ann", "waiting", None)
    assert await store.take() == "e1"
    await store.progress("e1", 3, 9)
    running = await store.get("e1")
    assert (running.state, running.seen, running.total, running.finished_at) == ("running", 3, 9, None)
    await store.done("e1", {"decisions": 8})
    await store.fail("e1", "its process ended with 1")
    done = await store.get("e1")
    assert (done.state, done.result, done.error) == ("done", {"decisions": 8}, None)
    assert (done.seen, done.total) == (8, 8)
    assert await store.take() is None


async def test_what_nobody_asked_for(store: EvaluationStore) -> None:
    with pytest.raises(NotFound, match="nothing"):
        await store.get("nothing")
    await store.done("nothing", {"decisions": 1})
    assert await store.take() is None


async def test_the_first_that_was_asked_for_is_taken_first_and_by_one_alone(store: EvaluationStore) -> None:
    for name in ("b", "a", "c"):
        await store.ask(name, REQUEST, "ann")
    taken = await asyncio.gather(*(store.take() for _ in range(3)))
    assert sorted(filter(None, taken)) == ["a", "b", "c"]
    assert await store.take() is None
    await store.ask("d", REQUEST, "ann")
    await store.ask("aa", REQUEST, "ann")
    assert [await store.take() for _ in range(2)] == ["d", "aa"]


async def test_what_waits_cannot_fail_or_end(store: EvaluationStore) -> None:
    await store.ask("e1", REQUEST, "ann")
    await store.fail("e1", "no")
    await store.done("e1", {"decisions": 1})
    assert (await store.get("e1")).state == "waiting"


async def test_an_evaluation_without_a_sign_of_life_is_taken_again(
    store: EvaluationStore, engine: AsyncEngine
) -> None:
    await store.ask("e1", REQUEST, "ann")
    await store.take()
    age = "UPDATE evaluations SET alive_at = now() - interval '{} s'"
    await run(engine, age.format(DEAD_S - 20))
    assert await store.take() is None
    await run(engine, age.format(DEAD_S + 1))
    assert await store.take() == "e1"
    assert await store.take() is None


async def test_a_job_is_run_by_one_alone_and_only_while_it_runs(store: EvaluationStore) -> None:
    for name in ("e1", "e2"):
        await store.ask(name, REQUEST, "ann")
    async with store.claim("e1") as waiting:
        assert not waiting
    await store.take()
    await store.take()
    async with store.claim("e1") as first, store.claim("e1") as second, store.claim("e2") as other:
        assert (first, second, other) == (True, False, True)
        await store.done("e1", {"decisions": 8})
    async with store.claim("e1") as again:
        assert not again
    with pytest.raises(NotFound):
        async with store.claim("nothing"):
            pass


async def test_the_queue_is_bounded_and_the_old_are_forgotten(
    store: EvaluationStore, engine: AsyncEngine
) -> None:
    for n in range(MAX_OPEN):
        await store.ask(f"e{n}", REQUEST, "ann")
    await store.take()
    with pytest.raises(Conflict, match=f"{MAX_OPEN} evaluations are waiting"):
        await store.ask("more", REQUEST, "ann")
    await run(engine, f"UPDATE evaluations SET asked_at = now() - interval '{RETENTION_DAYS} days 1 s'")
    await store.ask("more", REQUEST, "ann")
    with pytest.raises(NotFound):
        await store.get("e1")
