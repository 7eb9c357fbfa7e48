"""One task runs for each key that is wanted, for as long as it is wanted."""

import asyncio

from app.processes.tasks import TaskSet


async def test_tasks_start_and_end_with_their_keys() -> None:
    log: list[str] = []

    async def run(key: str) -> None:
        log.append(f"start {key}")
        try:
            await asyncio.sleep(60)
        finally:
            log.append(f"end {key}")

    tasks = TaskSet(run)
    tasks.want(["a", "b"])
    await asyncio.sleep(0)
    tasks.want(["b", "c"])
    assert tasks.keys == {"b", "c"}
    await asyncio.sleep(0)
    assert sorted(log) == ["end a", "start a", "start b", "start c"]
    await tasks.close()
    assert tasks.keys == frozenset()
    assert sorted(log[4:]) == ["end b", "end c"]


async def test_a_task_that_has_ended_by_itself_is_started_again() -> None:
    started: list[str] = []

    async def run(key: str) -> None:
        started.append(key)

    tasks = TaskSet(run)
    for _ in range(2):
        tasks.want(["a"])
        await asyncio.sleep(0)
    assert started == ["a", "a"]
    await tasks.close()


async def test_closing_waits_until_all_have_cleaned_up() -> None:
    cleaned = []

    async def run(key: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(key)

    tasks = TaskSet(run)
    tasks.want(["a"])
    await asyncio.sleep(0)
    await tasks.close()
    assert cleaned == ["a"]
