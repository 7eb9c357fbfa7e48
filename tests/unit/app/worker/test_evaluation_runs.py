"""Evaluations are run one after the other, and one whose process breaks has failed."""

from typing import cast

import pytest

from app.worker.evaluation_runs import INTERVAL_S, EvaluationRunner
from decisioning.evaluation.store_jobs import EvaluationStore


class Store:
    """A queue of evaluations, and why some failed."""

    def __init__(self, *waiting: str) -> None:
        self.waiting = list(waiting)
        self.failed: dict[str, str] = {}

    async def take(self) -> str | None:
        return self.waiting.pop(0) if self.waiting else None

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
