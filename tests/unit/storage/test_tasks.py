"""Work that is left behind when its time is over, and ends by itself."""

import asyncio
import time

import pytest

from storage import tasks
from storage.tasks import leave_after
from tests.support.waiting import eventually


async def slow_to_end(ended: list[str]) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.2)  # as a driver that closes a connection
        ended.append("ended")
        raise OSError("the connection could not be closed")


async def test_what_is_done_in_time_is_given_back() -> None:
    assert await leave_after(asyncio.sleep(0, "done"), 1.0) == "done"
    with pytest.raises(OSError, match="closed"):
        await leave_after(_fail(), 1.0)


async def _fail() -> None:
    raise OSError("closed")


@pytest.mark.parametrize("cancelled", [False, True])
async def test_nobody_waits_for_what_is_left_behind(cancelled: bool) -> None:
    ended: list[str] = []
    started_s = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02 if cancelled else 60):
            await leave_after(slow_to_end(ended), 60 if cancelled else 0.02)
    assert time.monotonic() - started_s < 0.15
    assert ended == []
    assert len(tasks._left_behind) == 1

    async def gone() -> bool:
        return ended == ["ended"] and not tasks._left_behind

    await eventually(gone, "the work to end")
