"""Evaluations are run one after the other, and one whose process breaks has failed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from app.worker import evaluation_runs
from app.worker.evaluation_runs import INTERVAL_S, EvaluationRunner, tell_again_and_again
from decisioning.evaluation.store_jobs import EvaluationStore
from storage.errors import PostgresUnavailable


class Store:
    """A queue of evaluations, and why some failed. ``held``: so many claims fail before one does not."""

    def __init__(self, *waiting: str, free: bool = True, held: int = 0) -> None:
        self.waiting = list(waiting)
        self.free = free
        self.held = held
        self.failed: dict[str, str] = {}

    async def take(self) -> str | None:
        return self.waiting.pop(0) if self.waiting else None

    @asynccontextmanager
    async def claim(self, evaluation_id: str) -> AsyncIterator[bool]:
        yield self.free and self.held == 0
        self.held = max(0, self.held - 1)

    async def fail(self, evaluation_id: str, error: str) -> None:
        self.failed[evaluation_id] = error


@pytest.mark.parametrize("status", [0, 1, -9])
async def test_one_a_round_without_a_pause_between(status: int) -> None:
    store, run = Store("e1", "e2"), list[str]()

    async def work(evaluation_id: str) -> int:
        run.append(evaluation_id)
        return status if evaluation_id == "e1" else 0

    runner = EvaluationRunner(cast(EvaluationStore, store), work)
    assert [await runner.round() for _ in range(3)] == [0.0, 0.0, INTERVAL_S]
    assert run == ["e1", "e2"]
    assert store.failed == ({"e1": f"its process ended with {status}"} if status else {})


async def dies(evaluation_id: str) -> int:
    return -9


async def test_what_somebody_else_has_taken_over_does_not_fail_for_a_process_that_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation_runs, "CLAIM_S", 0.0)
    store = Store("e1", free=False)
    assert await EvaluationRunner(cast(EvaluationStore, store), dies).round() == 0.0
    assert store.failed == {}


async def test_it_fails_though_the_claim_of_its_dead_process_ends_a_moment_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation_runs, "CLAIM_EVERY_S", 0.0)
    store = Store("e1", held=3)
    await EvaluationRunner(cast(EvaluationStore, store), dies).round()
    assert store.failed == {"e1": "its process ended with -9"}


async def test_a_job_is_told_to_be_alive_again_after_postgres_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation_runs, "PROGRESS_INTERVAL_S", 0.0)
    calls, told = list[bool](), asyncio.Event()

    async def tell() -> None:
        calls.append(True)
        if len(calls) <= 2:
            raise PostgresUnavailable("away")
        told.set()

    reporter = asyncio.create_task(tell_again_and_again(tell))
    await asyncio.wait({reporter, asyncio.create_task(told.wait())}, return_when=asyncio.FIRST_COMPLETED)
    assert told.is_set()
    assert reporter.cancel()
