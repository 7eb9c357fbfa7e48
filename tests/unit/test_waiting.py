"""Waits end: with what was waited for, or with a message that names it."""

import asyncio

import pytest

from tests.support import waiting
from tests.support.waiting import eventually, wait_until, within


def test_what_came_is_returned() -> None:
    found = iter((0, 0, 7))
    assert wait_until(lambda: next(found), "a number") == 7


async def test_what_came_is_returned_to_coroutines() -> None:
    found = iter((0, 0, 7, 8))

    async def look() -> int:
        return next(found)

    assert await eventually(look, "a number") == 7
    assert await within(look(), "a number") == 8


def test_a_wait_says_what_it_waited_for_and_what_it_saw_instead() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.\d s for the moon; last seen: \[\]\nit is day"):
        wait_until(lambda: [], "the moon", timeout_s=0.05, explain=lambda: "it is day")


async def test_a_coroutine_says_what_it_waited_for() -> None:
    async def never() -> bool:
        return False

    with pytest.raises(AssertionError, match="for the moon; last seen: False"):
        await eventually(never, "the moon", timeout_s=0.05)
    with pytest.raises(AssertionError, match="for the sun"):
        await within(asyncio.Event().wait(), "the sun", 0.05)


async def test_a_timeout_of_what_is_awaited_stays_what_it_is() -> None:
    async def fails() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await within(fails(), "nothing")


def test_a_wait_goes_on_while_something_moves_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def tenth() -> bool:
        looks.append(1)
        return len(looks) == 10

    assert wait_until(tenth, "the tenth look", timeout_s=0.001, progress=lambda: len(looks))
    monkeypatch.setattr(waiting, "MAX_WAIT_S", 0.05)
    with pytest.raises(AssertionError, match="for another tenth"):
        wait_until(tenth, "another tenth", timeout_s=0.001, progress=lambda: len(looks))
