"""Batches: many items in one body, each of which is answered for itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler

from app.errors import field_errors

MAX_ITEMS = 1000
MAX_CONCURRENT_ITEMS = 64
"""Of one batch, so that a large one does not crowd out other requests."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class MalformedItem:
    """An item that is not what it should be: the first field at fault, and what is wrong with it, and with others."""

    field: str
    reason: str


def read_item(model: type[M], value: Any, names: Mapping[str, str] | None = None) -> "M | MalformedItem":
    """Read one item. ``names``: under which the sender knows fields that are wrong, if not under those of ``model``."""
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


async def answer_each(items: Sequence[T], answer: Callable[[int, T], Awaitable[A]]) -> list[A]:
    """Answer each item by its place and itself, some at a time; in the order of the items."""
    answers: dict[int, A] = {}
    numbered = iter(enumerate(items))

    async def answer_next() -> None:
        for index, item in numbered:
            answers[index] = await answer(index, item)

    await asyncio.gather(*(answer_next() for _ in range(min(MAX_CONCURRENT_ITEMS, len(items)))))
    return [answers[index] for index in range(len(items))]
