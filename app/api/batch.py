"""Batches: many items in one body, each of which is answered for itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler

from app.errors import field_errors

MAX_ITEMS = 1000
MAX_CONCURRENT_ITEMS = 64
"""Of one batch, so that a large one does not crowd out other requests."""

T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class MalformedItem:
    """An item that is not what it should be: the first field at fault, and what is wrong with it, and with others."""

    field: str
    reason: str


def or_malformed(model: type[BaseModel]) -> Callable[[Any, ValidatorFunctionWrapHandler], Any]:
    """Make the validator of one item: what is wrong with it is kept in its place, and keeps no other from being read.

    ``model``: what an item should be.
    """

    def check(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            errors = field_errors(error.errors(include_url=False), whole="item")
            reason = "; ".join(f"{e['field']}: {e['reason']}" for e in errors[:3])
            return MalformedItem(errors[0]["field"], reason)

    return check


async def answer_each(items: Sequence[T], answer: Callable[[int, T], Awaitable[A]]) -> list[A]:
    """Answer each item by its place and itself, some at a time; in the order of the items."""
    answers: dict[int, A] = {}
    numbered = iter(enumerate(items))

    async def answer_next() -> None:
        for index, item in numbered:
            answers[index] = await answer(index, item)

    await asyncio.gather(*(answer_next() for _ in range(min(MAX_CONCURRENT_ITEMS, len(items)))))
    return [answers[index] for index in range(len(items))]
