"""Items of a batch: what is wrong with one is told of it alone."""

import asyncio
from typing import Literal

import pytest
from pydantic import BaseModel

from app.api.batch import (
    MAX_CONCURRENT_ITEMS,
    ItemAnswer,
    MalformedItem,
    answer_each,
    answer_item,
    read_item,
    renamed,
)
from app.api.body import parse_batch
from app.errors import Problem
from decisioning.errors import Conflict, Invalid, NotFound
from storage.errors import RedisUnavailable

HUGE = b"9" * 309


class Thing(BaseModel):
    """An item."""

    name: str


class ThingAnswer(ItemAnswer):
    """Its answer."""

    status: Literal["made", "refused"]


async def answered(item: Thing | MalformedItem, error: Exception | None = None) -> tuple[int, str | None]:
    """Answer an item whose recording raises ``error``; its code and field."""

    async def record(thing: Thing) -> str:
        if error is not None:
            raise error
        return "made"

    answer = await answer_item(ThingAnswer, 3, item, record, {"name": "title"})
    assert answer.index == 3
    assert (answer.status == "refused") == (answer.code != 200)
    return answer.code, answer.field


@pytest.mark.parametrize(
    ("error", "code", "field"),
    [
        (None, 200, None),
        (Invalid("name", "is odd"), 422, "title"),
        (NotFound("thing", "x"), 404, None),
        (Conflict("another was told"), 409, None),
        (RedisUnavailable("gone"), 503, None),
    ],
)
async def test_an_item_has_the_code_that_it_would_have_alone(
    error: Exception | None, code: int, field: str | None
) -> None:
    assert await answered(Thing(name="x"), error) == (code, field)


async def test_what_is_malformed_is_not_recorded() -> None:
    assert await answered(MalformedItem("name", "name: is odd"), AssertionError()) == (422, "name")


async def test_answers_are_in_the_order_of_items_and_not_all_are_answered_at_once() -> None:
    running: set[int] = set()
    most = 0

    async def answer(index: int, item: int) -> int:
        nonlocal most
        running.add(index)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.discard(index)
        return -item

    items = list(range(3 * MAX_CONCURRENT_ITEMS))
    assert await answer_each(items, answer) == [-item for item in items]
    assert 1 < most <= MAX_CONCURRENT_ITEMS


def test_fields_are_named_as_the_sender_knows_them() -> None:
    assert renamed("name.0", {"name": "title"}) == "title.0"
    assert renamed("other", {"name": "title"}) == renamed("other", None) == "other"
    malformed = read_item(Thing, {"name": 7}, {"name": "title"})
    assert isinstance(malformed, MalformedItem)
    assert malformed.field == "title"
    assert malformed.reason.startswith("title: ")


@pytest.mark.parametrize("body", [b'{"items": [{"n": [%s]}, {"n": 1}]}', b'[{"n": [%s]}, {"n": 1}]'])
def test_a_number_that_is_too_large_is_of_its_item(body: bytes) -> None:
    parsed = parse_batch(body % HUGE)
    first, second = parsed["items"] if isinstance(parsed, dict) else parsed
    assert second == {"n": 1}
    malformed = read_item(Thing, first)
    assert malformed is first
    assert isinstance(malformed, MalformedItem)
    assert malformed.field == "n.0"


@pytest.mark.parametrize("body", [b'{"of": [%s], "items": []}', b'{"items": [%s]}', b"%s"])
def test_elsewhere_it_refuses_the_body(body: bytes) -> None:
    with pytest.raises(Problem, match="too large"):
        parse_batch(body % HUGE)
