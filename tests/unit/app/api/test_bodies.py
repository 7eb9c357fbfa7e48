"""Bodies that are never finished are bounded in time, and in memory for all of them together."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message

from app.api.bodies import BoundedBody, WaitingBodies
from app.errors import Problem


def body(
    bodies: WaitingBodies, parts: Sequence[bytes], *, in_memory: bool = True, limit: int = 1000
) -> BoundedBody:
    """A body of which these parts come, and then nothing."""
    left = list(parts)

    async def receive() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    return bodies.bound(receive, limit, in_memory=in_memory)


async def test_a_body_that_is_never_finished_ends_in_time() -> None:
    bodies = WaitingBodies(body_s=0.05)
    one = body(bodies, [b"x"])
    await one()
    assert bodies.waiting == 1
    with pytest.raises(Problem, match="in time") as caught:
        await asyncio.wait_for(one(), 5)
    assert caught.value.status_code == 408
    one.close()
    one.close()
    assert bodies.waiting == 0


async def test_a_drop_at_a_time_does_not_help() -> None:
    bodies = WaitingBodies(body_s=0.05)
    one = body(bodies, [b"x"] * 1000)

    async def collect() -> None:
        for _ in range(1000):
            await one()
            await asyncio.sleep(0.01)

    with pytest.raises(Problem, match="in time"):
        await collect()


async def test_all_bodies_together_are_bounded() -> None:
    bodies = WaitingBodies(most=10)
    first, second = body(bodies, [b"x" * 6]), body(bodies, [b"x" * 6])
    await first()
    with pytest.raises(Problem, match="not complete yet") as caught:
        await second()
    assert caught.value.status_code == 503
    second.close()
    assert bodies.waiting == 6
    first.close()
    assert bodies.waiting == 0


async def test_a_file_may_take_long_but_not_pause_for_ever() -> None:
    bodies = WaitingBodies(most=1, body_s=0.01, silence_s=0.1)
    file = body(bodies, [b"x"] * 5, in_memory=False)
    for _ in range(5):
        await file()
        await asyncio.sleep(0.02)
    assert bodies.waiting == 0
    with pytest.raises(Problem, match="in time"):
        await file()


async def test_after_the_body_nothing_is_bounded() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        await asyncio.sleep(0.02 if len(messages) == 1 else 0)
        return messages.pop(0)

    bodies = WaitingBodies(body_s=0.01)
    one = bodies.bound(receive, 10, in_memory=True)
    assert (await one())["body"] == b"x"
    assert bodies.waiting == 0
    assert (await one())["type"] == "http.disconnect"


async def test_a_body_that_is_too_long() -> None:
    with pytest.raises(Problem, match="longer than the 3 bytes"):
        await body(WaitingBodies(), [b"xxxx"], limit=3)()
