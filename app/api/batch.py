"""Batches: many items in one body, each of which is answered for itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler

from app.errors import field_errors
from decisioning.errors import Conflict, Invalid, NotFound
from storage.errors import Unavailable

MAX_ITEMS = 1000
MAX_CONCURRENT_ITEMS = 64
"""Of one batch, so that a large one does not crowd out other requests."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
A = TypeVar("A")
Item = TypeVar("Item", bound="ItemAnswer")


@dataclass(frozen=True, slots=True)
class MalformedItem:
    """An item that is not what it should be: the first field at fault, and what is wrong with it, and with others."""

    field: str
    reason: str


class ItemAnswer(BaseModel):
    """The answer to one item: a status, or what is wrong with it.

    ``index`` counts from 0. ``code`` is the HTTP status that the item would have had alone, ``field`` the field at
    fault, where there is one.
    """

    index: int
    status: str
    code: int
    field: str | None = None
    reason: str | None = None


class BatchAnswer(BaseModel):
    """Answers in the order of the items. ``refused``: how many of them were not recorded.

    The whole batch may be sent again as often as needed. Only items with code 503 are worth it: what else was refused
    is refused again.
    """

    refused: int


def read_item(model: type[M], value: Any, names: Mapping[str, str] | None = None) -> "M | MalformedItem":
    """Read one item. ``names``: under which the sender knows fields that are wrong, if not under those of ``model``."""
    if isinstance(
        value, MalformedItem
    ):  # it was seen when the body was parsed, and names the field as it was sent
        return value
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = field_errors(error.errors(include_url=False), whole="item")
        told = [(renamed(e["field"], names), e["reason"]) for e in errors[:3]]
        return MalformedItem(told[0][0], "; ".join(f"{field}: {reason}" for field, reason in told))


def renamed(field: str, names: Mapping[str, str] | None) -> str:
    """Return a field, or one below it, by its other name."""
    first, dot, rest = field.partition(".")
    return f"{(names or {}).get(first, first)}{dot}{rest}"


def or_malformed(model: type[BaseModel]) -> Callable[[Any, ValidatorFunctionWrapHandler], Any]:
    """Make the validator of one item: what is wrong with it is kept in its place, and keeps no other from being read.

    ``model``: what an item should be.
    """
    return lambda value, validate: read_item(model, value)


async def answer_item(
    kind: type[Item],
    index: int,
    item: T | MalformedItem,
    record: Callable[[T], Awaitable[str]],
    names: Mapping[str, str] | None = None,
) -> Item:
    """Record one item and answer with its status, or with what is wrong with it. ``names``: see ``read_item``."""

    def refused(code: int, reason: str, field: str | None = None) -> Item:
        return kind(index=index, status="refused", code=code, field=field, reason=reason)

    if isinstance(item, MalformedItem):
        return refused(422, item.reason, item.field)
    try:
        return kind(index=index, status=await record(item), code=200)
    except Invalid as error:
        field = renamed(error.field, names)
        return refused(422, f"{field}: {error}", field)
    except NotFound as error:
        return refused(404, str(error))
    except Conflict as error:
        return refused(409, str(error))
    except Unavailable:
        return refused(503, "could not be stored; send it again")


async def answer_each(items: Sequence[T], answer: Callable[[int, T], Awaitable[A]]) -> list[A]:
    """Answer each item by its place and itself, some at a time; in the order of the items."""
    answers: dict[int, A] = {}
    numbered = iter(enumerate(items))

    async def answer_next() -> None:
        for index, item in numbered:
            answers[index] = await answer(index, item)

    await asyncio.gather(*(answer_next() for _ in range(min(MAX_CONCURRENT_ITEMS, len(items)))))
    return [answers[index] for index in range(len(items))]
