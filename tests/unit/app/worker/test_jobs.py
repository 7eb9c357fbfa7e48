"""A job's rounds are repeated, whatever a round raises."""

import asyncio
from contextlib import suppress

import pytest

from app.worker import jobs
from storage.errors import RedisUnavailable
from tests.support.waiting import DEADLINE_S, within


async def test_rounds_go_on_after_unavailable_stores_and_defects(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    results: list[float | Exception] = [RedisUnavailable("gone"), RuntimeError("a bug"), 0.5, 60.0]
    done, pauses, sleep = asyncio.Event(), [], asyncio.sleep

    async def work() -> float:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    async def note_pause(seconds: float) -> None:
        pauses.append(seconds)
        if not results:
            done.set()
        await sleep(60 if done.is_set() else 0)

    monkeypatch.setattr(asyncio, "sleep", note_pause)
    task = asyncio.create_task(jobs.repeat("tester", work))
    await done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pauses == [2 * jobs.BACKOFF_S, 4 * jobs.BACKOFF_S, 0.5, 60.0]
    assert "tester waits: gone" in caplog.text
    assert "a defect in tester" in caplog.text


async def test_pauses_between_failures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    done, sleep = asyncio.Event(), asyncio.sleep

    async def fail() -> float:
        raise RedisUnavailable("gone")

    async def note_pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            done.set()
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note_pause)
    task = asyncio.create_task(jobs.repeat("tester", fail))
    await done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pauses == sorted(pauses)
    assert pauses[-1] == jobs.MAX_BACKOFF_S


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_a_job_whose_cancellation_gets_lost_in_a_round_ends_behind_it(ends: str) -> None:
    """Drivers may give back a result that came at the same moment; a job that rests for an hour must not do so then."""
    began, rounds = asyncio.Event(), 0

    async def lose() -> float:
        nonlocal rounds
        rounds += 1
        began.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(DEADLINE_S)
        if ends == "badly":
            raise RedisUnavailable("gone")
        return 3600.0

    task = asyncio.create_task(jobs.repeat("tester", lose))
    await began.wait()
    task.cancel()
    await within(asyncio.wait([task]), "the job to end", timeout_s=5.0)
    assert (task.done(), rounds) == (True, 1)
